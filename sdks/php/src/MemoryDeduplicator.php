<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/** Remembers in this process, which in PHP is most often one request: for tests. */
final class MemoryDeduplicator implements Deduplicator
{
    /** @var array<string, true> */
    private array $processed = [];

    public function processOnce(string $eventId, callable $work): bool
    {
        if (isset($this->processed[$eventId])) {
            return false;
        }
        $work();
        $this->processed[$eventId] = true;
        return true;
    }
}
