package com.kpayments.webhooks;

/** What was signed is not an event. */
public final class EventException extends Exception {
    private static final long serialVersionUID = 1;

    EventException(String message) {
        super(message);
    }
}
