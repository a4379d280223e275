<?php

declare(strict_types=1);

use KPayments\Webhooks\Deduplicator;
use KPayments\Webhooks\MemoryDeduplicator;
use KPayments\Webhooks\SqlDeduplicator;
use PHPUnit\Framework\TestCase;

final class DeduplicatorTest extends TestCase
{
    private static function database(): PDO
    {
        $database = new PDO('sqlite::memory:');
        $database->exec(SqlDeduplicator::TABLE);
        $database->exec('CREATE TABLE orders (id TEXT)');
        return $database;
    }

    public static function deduplicators(): iterable
    {
        yield 'in memory' => [new MemoryDeduplicator()];
        yield 'in a database' => [new SqlDeduplicator(self::database())];
    }

    /** @dataProvider deduplicators */
    public function testTheSecondDeliveryOfAnEventDoesNothing(Deduplicator $deduplicator): void
    {
        $ran = 0;
        $work = static function () use (&$ran): void {
            $ran++;
        };
        self::assertTrue($deduplicator->processOnce('evt_1', $work));
        self::assertFalse($deduplicator->processOnce('evt_1', $work));
        self::assertTrue($deduplicator->processOnce('evt_2', $work));
        self::assertSame(2, $ran);
    }

    /** @dataProvider deduplicators */
    public function testWorkThatFailedIsDoneByTheNextDelivery(Deduplicator $deduplicator): void
    {
        try {
            $deduplicator->processOnce('evt_3', static fn () => throw new LogicException('out of stock'));
            self::fail();
        } catch (LogicException $error) {
            self::assertSame('out of stock', $error->getMessage());
        }
        self::assertTrue($deduplicator->processOnce('evt_3', static fn () => null));
    }

    public function testEffectsAreCommittedWithTheMarkOrNotAtAll(): void
    {
        $database = self::database();
        $deduplicator = new SqlDeduplicator($database);
        $ship = static fn (PDO $connection) => $connection->exec("INSERT INTO orders VALUES ('o_1')");
        try {
            $deduplicator->processOnce('evt_1', static function (PDO $connection) use ($ship): void {
                $ship($connection);
                throw new LogicException('the power went out');
            });
            self::fail();
        } catch (LogicException) {
            self::assertSame(0, (int) $database->query('SELECT count(*) FROM orders')->fetchColumn());
        }
        $deduplicator->processOnce('evt_1', $ship);
        $deduplicator->processOnce('evt_1', $ship);
        self::assertSame(1, (int) $database->query('SELECT count(*) FROM orders')->fetchColumn());
    }
}
