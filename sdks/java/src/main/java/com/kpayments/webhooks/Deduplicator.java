package com.kpayments.webhooks;

import java.sql.Connection;

/**
 * Remembers which events were processed, so that each is processed once although it can be delivered more than once.
 *
 * <p>An event counts as processed when its work has ended well, not when it came: if the work fails the next delivery
 * runs it again. Two deliveries at the same time do not both run it. Only a mark and effects that are committed together
 * make this hold through a crash, so in production use a database.
 */
public interface Deduplicator {
    /**
     * Runs the work, unless the event was processed before; says whether it ran. If the work throws, the event stays
     * unprocessed and the exception goes on to the caller.
     */
    boolean processOnce(String eventId, Work work) throws Exception;

    /** What is done for an event. */
    @FunctionalInterface
    interface Work {
        /** Does it, with the connection whose transaction holds the mark; it is null in memory. */
        void run(Connection connection) throws Exception;
    }
}
