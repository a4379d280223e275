package com.kpayments.webhooks;

import java.util.Locale;

/** Why a signature does not hold. */
public enum ErrorKind {
    /** There is no header, or an empty one. */
    MISSING_HEADER("there is no K-Payments-Signature header"),
    /** The header is not {@code t=<seconds>,v1=<hex>}. */
    MALFORMED_HEADER("the header is not of the form t=<unix seconds>,v1=<hex>"),
    /** No {@code v1} fits the body and the secret. */
    NO_MATCHING_SIGNATURE("no v1 fits: the secret is another endpoint's or an older one, "
            + "or these are not the raw bytes of the body"),
    /** The signature fits, but it was made too long ago. */
    TIMESTAMP_TOO_OLD("the signature fits but was made too long ago; a replay, or this machine's clock is ahead"),
    /** The signature fits, but it was made in the future. */
    TIMESTAMP_TOO_NEW("the signature fits but was made in the future; this machine's clock is behind");

    private final String message;

    ErrorKind(String message) {
        this.message = message;
    }

    /** A stable name of the reason, such as {@code missing_header}. */
    public String code() {
        return name().toLowerCase(Locale.ROOT);
    }

    /** The reason in words. */
    public String message() {
        return message;
    }
}
