package com.kpayments.webhooks;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * An event of a merchant.
 *
 * @param type what kind of event it is; {@link EventType#of} knows those that exist now
 * @param created unix seconds
 * @param object the charge, refund, payout or dispute; it has {@code id} and {@code object}, the rest is the
 *     publisher's. Values are String, java.math.BigDecimal, Boolean, Map, List or null
 * @param previousAttributes what changed, with the values of before, or null
 */
public record Event(
        String id,
        String type,
        long created,
        boolean livemode,
        String apiVersion,
        Map<String, Object> object,
        Map<String, Object> previousAttributes) {

    /** Reads an event. Verify first: this trusts what it is given. */
    public static Event parse(byte[] body) throws EventException {
        Object document = Json.parse(text(body));
        Object data = member(document, "data", Map.class);
        Object resource = member(data, "object", Map.class);
        member(resource, "id", String.class);
        member(resource, "object", String.class);
        Object previous = ((Map<?, ?>) data).get("previous_attributes");
        return new Event(
                member(document, "id", String.class),
                member(document, "type", String.class),
                seconds(member(document, "created", java.math.BigDecimal.class)),
                member(document, "livemode", Boolean.class),
                member(document, "api_version", String.class),
                asMap(resource),
                previous == null ? null : asMap(member(data, "previous_attributes", Map.class)));
    }

    private static String text(byte[] body) throws EventException {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body)).toString();
        } catch (CharacterCodingException e) {
            throw new EventException("the body is not UTF-8");
        }
    }

    private static long seconds(java.math.BigDecimal number) throws EventException {
        try {
            return number.longValueExact();
        } catch (ArithmeticException e) {
            throw new EventException("created is not a number of seconds");
        }
    }

    private static <T> T member(Object holder, String name, Class<T> kind) throws EventException {
        Object value = holder instanceof Map<?, ?> map ? map.get(name) : null;
        if (!kind.isInstance(value)) {
            throw new EventException("the body is not an event: " + name + " is missing or of another kind");
        }
        return kind.cast(value);
    }

    // Maps that Json makes have strings for keys.
    @SuppressWarnings("unchecked")
    private static Map<String, Object> asMap(Object value) {
        return (Map<String, Object>) value;
    }
}
