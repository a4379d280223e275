package com.kpayments.webhooks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

class WebhookTest {
    private static final String SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    private static final String BODY = "{\"id\":\"evt_1\",\"object\":\"event\",\"api_version\":\"v1\","
            + "\"created\":1749651729,\"livemode\":false,\"type\":\"charge.refunded\",\"data\":{\"object\":"
            + "{\"id\":\"ch_1\",\"object\":\"charge\",\"amount\":4999},\"previous_attributes\":{\"amount_refunded\":0}}}";

    private static int cases;
    private static int signing;

    @AfterAll
    static void report() throws Exception {
        String path = System.getenv("K_WEBHOOKS_VECTORS_REPORT");
        if (path != null) {
            String line = "Java|%s|%d|%d%n".formatted(System.getProperty("java.version"), cases, signing);
            Files.writeString(Path.of(path), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        }
    }

    @SuppressWarnings("unchecked")
    private static List<Map<String, Object>> vectors(String group) throws Exception {
        // The library's own reader, which is so tested too.
        Object document = Json.parse(Files.readString(Path.of(System.getProperty("vectors", "../vectors.json"))));
        return (List<Map<String, Object>>) ((Map<String, Object>) document).get(group);
    }

    private static long number(Object value) {
        return ((BigDecimal) value).longValueExact();
    }

    @TestFactory
    Stream<DynamicTest> eachCaseHasItsVerdict() throws Exception {
        assertTrue(vectors("cases").size() >= 80);
        return vectors("cases").stream().map(entry -> DynamicTest.dynamicTest((String) entry.get("name"), () -> {
            String found = null;
            try {
                Webhook.verifySignature(
                        Base64.getDecoder().decode((String) entry.get("body")),
                        (String) entry.get("header"),
                        (String) entry.get("secret"),
                        Duration.ofSeconds(number(entry.get("tolerance"))),
                        Instant.ofEpochSecond(number(entry.get("time"))));
            } catch (SignatureException e) {
                found = e.kind().code();
            }
            assertEquals(entry.get("reason"), found);
            cases++;
        }));
    }

    @TestFactory
    @SuppressWarnings("unchecked")
    Stream<DynamicTest> signingMakesTheHeaderOfTheService() throws Exception {
        return vectors("signing").stream().map(entry -> DynamicTest.dynamicTest((String) entry.get("name"), () -> {
            byte[] body = Base64.getDecoder().decode((String) entry.get("body"));
            String[] secrets = ((List<String>) entry.get("secrets")).toArray(new String[0]);
            assertEquals(entry.get("header"),
                    Webhook.signHeader(body, Instant.ofEpochSecond(number(entry.get("time"))), secrets));
            signing++;
        }));
    }

    private static Event construct(String text) throws Exception {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        return Webhook.constructEvent(body, Webhook.signHeader(body, Instant.now(), SECRET), SECRET);
    }

    @Test
    void aVerifiedBodyComesOutAsAnEvent() throws Exception {
        Event event = construct(BODY);
        assertEquals("evt_1", event.id());
        assertEquals(Optional.of(EventType.CHARGE_REFUNDED), EventType.of(event));
        assertEquals(1_749_651_729, event.created());
        assertEquals(new BigDecimal(4999), event.object().get("amount"));
        assertEquals(Map.of("amount_refunded", BigDecimal.ZERO), event.previousAttributes());
        assertEquals(11, EventType.values().length);
    }

    @Test
    void aTypeThatIsNotKnownYetComesOutAllTheSame() throws Exception {
        Event event = construct(BODY.replace("charge.refunded", "charge.captured"));
        assertEquals("charge.captured", event.type());
        assertEquals(Optional.empty(), EventType.of(event));
    }

    @Test
    void theToleranceIsFiveMinutesUnlessSaidOtherwise() throws Exception {
        byte[] body = BODY.getBytes(StandardCharsets.UTF_8);
        Webhook.verifySignature(body, Webhook.signHeader(body, Instant.now().minusSeconds(290), SECRET), SECRET);
        String old = Webhook.signHeader(body, Instant.now().minusSeconds(302), SECRET);
        SignatureException error =
                assertThrows(SignatureException.class, () -> Webhook.verifySignature(body, old, SECRET));
        assertEquals(ErrorKind.TIMESTAMP_TOO_OLD, error.kind());
        assertTrue(error.getMessage().contains("clock is ahead"));
    }

    @Test
    void aTextThatIsNoSecretIsAMistakeOfTheProgram() {
        for (String secret : new String[] {"", "whsec_", SECRET + "\n", SECRET.substring(6), "whsec_c2hvcnQ=", null}) {
            assertThrows(IllegalArgumentException.class, () -> Webhook.verifySignature(new byte[0], null, secret));
        }
    }

    @Test
    void whatWasSignedAndIsNoEventIsRefusedAsSuch() {
        String[] bodies = {
            "", "[]", "1", "null", "{}", "{\"a\":1,}", "[1 2]", "{\"a\":01}", "\"\\x\"", "tru", "[".repeat(100_000),
            BODY + "x", BODY.replace("\"id\":\"ch_1\",", ""), BODY.replace("1749651729", "1.5"),
        };
        for (String body : bodies) {
            assertThrows(EventException.class, () -> construct(body), body);
        }
        assertThrows(EventException.class, () -> Event.parse(new byte[] {(byte) 0xff}));
    }

    @Test
    void jsonIsReadAsItIsWritten() throws Exception {
        assertEquals(
                List.of("é/\n\"", new BigDecimal("-1.50E+3"), true, Map.of("k", List.of())),
                Json.parse(" [\"\\u00e9\\/\\n\\\"\", -1.50E+3 , true,{ \"k\" : [ ] }] "));
    }
}
