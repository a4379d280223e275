package com.kpayments.webhooks;

/** The request is not one that K-Payments signed, or not now. Answer 400 and do nothing. */
public final class SignatureException extends Exception {
    private static final long serialVersionUID = 1;

    private final ErrorKind kind;

    SignatureException(ErrorKind kind) {
        super(kind.message());
        this.kind = kind;
    }

    /** Why. */
    public ErrorKind kind() {
        return kind;
    }
}
