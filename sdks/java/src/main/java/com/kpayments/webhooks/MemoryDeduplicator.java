package com.kpayments.webhooks;

import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.Set;

/** Remembers in this process: for tests, and where running twice after a restart does no harm. */
public final class MemoryDeduplicator implements Deduplicator {
    private final int capacity;
    private final Set<String> running = new HashSet<>();
    private final Set<String> processed = new LinkedHashSet<>();

    /** Remembers the latest 100,000 events. */
    public MemoryDeduplicator() {
        this(100_000);
    }

    /** Remembers as many of the latest events. */
    public MemoryDeduplicator(int capacity) {
        this.capacity = capacity;
    }

    @Override
    public boolean processOnce(String eventId, Work work) throws Exception {
        synchronized (this) {
            while (running.contains(eventId)) {
                wait();
            }
            if (processed.contains(eventId)) {
                return false;
            }
            running.add(eventId);
        }
        boolean done = false;
        try {
            work.run(null);
            done = true;
            return true;
        } finally {
            end(eventId, done);
        }
    }

    private synchronized void end(String eventId, boolean done) {
        running.remove(eventId);
        if (done) {
            processed.add(eventId);
            if (processed.size() > capacity) {
                processed.remove(processed.iterator().next());
            }
        }
        notifyAll();
    }
}
