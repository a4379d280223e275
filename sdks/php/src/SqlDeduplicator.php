<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/**
 * Remembers in a table of the receiver's own PostgreSQL or SQLite, in the transaction of the work. The work makes its
 * changes with the same connection and does not commit. A second delivery waits at the primary key until the first
 * transaction has ended.
 */
final class SqlDeduplicator implements Deduplicator
{
    public const TABLE = 'CREATE TABLE IF NOT EXISTS processed_webhook_events '
        . '(event_id TEXT PRIMARY KEY, processed_at BIGINT NOT NULL)';

    public function __construct(private readonly \PDO $connection)
    {
        $connection->setAttribute(\PDO::ATTR_ERRMODE, \PDO::ERRMODE_EXCEPTION);
    }

    public function processOnce(string $eventId, callable $work): bool
    {
        $this->connection->beginTransaction();
        try {
            $insert = $this->connection->prepare(
                'INSERT INTO processed_webhook_events (event_id, processed_at) VALUES (?, ?) '
                . 'ON CONFLICT (event_id) DO NOTHING',
            );
            $insert->execute([$eventId, time()]);
            $first = $insert->rowCount() === 1;
            if ($first) {
                $work($this->connection);
            }
            $this->connection->commit();
            return $first;
        } catch (\Throwable $error) {
            $this->connection->rollBack();
            throw $error;
        }
    }
}
