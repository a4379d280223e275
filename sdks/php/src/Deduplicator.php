<?php

declare(strict_types=1);

namespace KPayments\Webhooks;

/**
 * Remembers which events were processed, so that each is processed once although it can be delivered more than once.
 *
 * An event counts as processed when its work has ended well, not when it came: if the work fails the next delivery runs
 * it again. Only a mark and effects that are committed together make this hold through a crash.
 */
interface Deduplicator
{
    /**
     * Runs the work, unless the event was processed before; says whether it ran. If the work throws, the event stays
     * unprocessed and the exception goes on to the caller.
     */
    public function processOnce(string $eventId, callable $work): bool;
}
