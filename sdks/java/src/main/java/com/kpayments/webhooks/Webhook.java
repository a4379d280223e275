package com.kpayments.webhooks;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Objects;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * {@code K-Payments-Signature}: checking it, and making it for tests. The rules and their order are in sdks/README.md.
 */
public final class Webhook {
    /** The name of the header that carries the signature. */
    public static final String SIGNATURE_HEADER = "K-Payments-Signature";

    /** How far from now a signature may have been made. */
    public static final Duration DEFAULT_TOLERANCE = Duration.ofMinutes(5);

    // The last letter before the padding holds four bits only.
    private static final Pattern SECRET = Pattern.compile("whsec_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=");

    private Webhook() {
    }

    /**
     * Verifies a request and reads its event.
     *
     * @param body the raw bytes of the request, before any parsing
     * @param header the value of {@link #SIGNATURE_HEADER}, or null
     * @param secret all of the endpoint's signing secret
     * @throws SignatureException if the signature does not hold
     * @throws EventException if what was signed is no event
     * @throws IllegalArgumentException if the secret is not one
     */
    public static Event constructEvent(byte[] body, String header, String secret)
            throws SignatureException, EventException {
        verifySignature(body, header, secret);
        return Event.parse(body);
    }

    /** Checks the header against the body, now and with the tolerance of five minutes. */
    public static void verifySignature(byte[] body, String header, String secret) throws SignatureException {
        verifySignature(body, header, secret, DEFAULT_TOLERANCE, Instant.now());
    }

    /**
     * Checks the value of the header against the raw bytes of the body.
     *
     * @param tolerance how far from now the signature may have been made, in whole seconds
     * @param now what to take for now
     * @throws SignatureException if the signature does not hold
     * @throws IllegalArgumentException if the secret is not one
     */
    public static void verifySignature(byte[] body, String header, String secret, Duration tolerance, Instant now)
            throws SignatureException {
        Objects.requireNonNull(body, "body");
        checkSecret(secret);
        if (header == null || trim(header).isEmpty()) {
            throw new SignatureException(ErrorKind.MISSING_HEADER);
        }
        Parsed parsed = parse(header);
        byte[] expected = mac(secret, parsed.timestamp, body);
        boolean fits = false;
        for (byte[] signature : parsed.signatures) {
            // Every one is compared, so that the time tells nothing of which one fits.
            fits |= MessageDigest.isEqual(expected, signature);
        }
        if (!fits) {
            throw new SignatureException(ErrorKind.NO_MATCHING_SIGNATURE);
        }
        // t is not below zero, and instants are far from the ends of a long.
        long age = now.getEpochSecond() - parsed.seconds;
        if (age > tolerance.getSeconds()) {
            throw new SignatureException(ErrorKind.TIMESTAMP_TOO_OLD);
        }
        if (age < -tolerance.getSeconds()) {
            throw new SignatureException(ErrorKind.TIMESTAMP_TOO_NEW);
        }
    }

    /**
     * The header that the service would send for this body: for the tests of receivers. Several secrets make several
     * {@code v1}, as during a rotation.
     */
    public static String signHeader(byte[] body, Instant at, String... secrets) {
        String timestamp = Long.toString(at.getEpochSecond());
        StringBuilder header = new StringBuilder("t=").append(timestamp);
        for (String secret : secrets) {
            checkSecret(secret);
            header.append(",v1=").append(HexFormat.of().formatHex(mac(secret, timestamp, body)));
        }
        return header.toString();
    }

    private static void checkSecret(String secret) {
        if (secret == null || !SECRET.matcher(secret).matches()) {
            throw new IllegalArgumentException(
                    "The secret must be the endpoint's signing secret: whsec_ and the base64 of 32 bytes.");
        }
    }

    private static byte[] mac(String secret, String timestamp, byte[] body) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(secret.getBytes(StandardCharsets.US_ASCII), "HmacSHA256"));
            mac.update((timestamp + ".").getBytes(StandardCharsets.US_ASCII));
            return mac.doFinal(body);
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("every Java has HmacSHA256", e);
        }
    }

    private record Parsed(String timestamp, long seconds, List<byte[]> signatures) {
    }

    private static Parsed parse(String header) throws SignatureException {
        String timestamp = null;
        List<byte[]> signatures = new ArrayList<>();
        // A negative limit keeps empty parts at the end.
        for (String raw : header.split(",", -1)) {
            String part = trim(raw);
            int equals = part.indexOf('=');
            if (equals < 0) {
                throw malformed();
            }
            String value = part.substring(equals + 1);
            switch (part.substring(0, equals)) {
                case "t" -> {
                    if (timestamp != null) {
                        throw malformed();
                    }
                    timestamp = value;
                }
                case "v1" -> signatures.add(bytesOf(value));
                default -> { }
            }
        }
        if (timestamp == null || signatures.isEmpty()) {
            throw malformed();
        }
        return new Parsed(timestamp, secondsOf(timestamp), signatures);
    }

    private static byte[] bytesOf(String hex) throws SignatureException {
        try {
            return HexFormat.of().parseHex(hex);
        } catch (IllegalArgumentException e) {
            throw malformed();
        }
    }

    private static long secondsOf(String text) throws SignatureException {
        // Long.parseLong takes signs, and the digits of other scripts.
        if (text.isEmpty() || !text.chars().allMatch(c -> c >= '0' && c <= '9')) {
            throw malformed();
        }
        try {
            return Long.parseLong(text);
        } catch (NumberFormatException e) {
            throw malformed();
        }
    }

    /** Not String.strip or trim, which drop other characters than the service does. */
    private static String trim(String text) {
        int start = 0;
        int end = text.length();
        while (start < end && isSpace(text.charAt(start))) {
            start++;
        }
        while (end > start && isSpace(text.charAt(end - 1))) {
            end--;
        }
        return text.substring(start, end);
    }

    private static boolean isSpace(char c) {
        return c == ' ' || (c >= '\t' && c <= '\r');
    }

    private static SignatureException malformed() {
        return new SignatureException(ErrorKind.MALFORMED_HEADER);
    }
}
