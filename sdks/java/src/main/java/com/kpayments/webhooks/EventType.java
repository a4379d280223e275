package com.kpayments.webhooks;

import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

/** Every type that exists now. A receiver answers 2xx to one that it does not know, and passes over it. */
public enum EventType {
    CHARGE_SUCCEEDED, CHARGE_FAILED, CHARGE_REFUNDED,
    REFUND_CREATED, REFUND_UPDATED,
    PAYOUT_CREATED, PAYOUT_PAID, PAYOUT_FAILED,
    DISPUTE_CREATED, DISPUTE_UPDATED, DISPUTE_CLOSED;

    /** The name in events, such as {@code charge.succeeded}. */
    public String code() {
        return name().toLowerCase(Locale.ROOT).replace('_', '.');
    }

    /** The type of an event, if it is one of these. */
    public static Optional<EventType> of(Event event) {
        return Arrays.stream(values()).filter(type -> type.code().equals(event.type())).findFirst();
    }
}
