// The libraries of others accept what the service sends: Stripe's, whose header has the same form, and that of
// Standard Webhooks, for which the other three headers are.
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { afterEach, describe, expect, it, vi } from "vitest";
import { signHeader } from "../src/index.js";
import { BODY, SECRET, VECTORS } from "./support.js";

const stripe = new Stripe("sk_test_unused");

const GROUPS = /^(a plain|a secret|rotation: the|a body with)/;

// Stripe's library decodes what it is given, so bytes that are not UTF-8, or a byte order mark, are beyond it. No event
// has either.
const isText = (body: string): boolean => {
  const bytes = Buffer.from(body, "base64");
  return Buffer.from(new TextDecoder().decode(bytes)).equals(bytes);
};

const CASES = VECTORS.cases.filter(({ name, body, reason }) => reason === null && GROUPS.test(name) && isText(body));

describe("Stripe verifies our header and body with our secret", () => {
  it.each(CASES)("$name", (entry) => {
    const { webhooks } = stripe;
    const body = Buffer.from(entry.body, "base64");
    const verify = (content: Buffer) =>
      webhooks.signature!.verifyHeader(content, entry.header!, entry.secret, Number.MAX_SAFE_INTEGER);
    expect(verify(body)).toBe(true);
    expect(() => verify(Buffer.concat([body, Buffer.from(" ")]))).toThrow();
  });

  it("constructs an event of a header made now", async () => {
    const event = stripe.webhooks.constructEvent(Buffer.from(BODY), await signHeader(BODY, SECRET), SECRET);
    expect(event.id).toBe("evt_1");
  });
});

describe("Standard Webhooks verifies the other three headers", () => {
  afterEach(() => void vi.useRealTimers());

  it.each(VECTORS.standard_webhooks)("$name", ({ secrets, id, time, body, signature }) => {
    vi.useFakeTimers({ now: time * 1000 });
    const headers = { "webhook-id": id, "webhook-timestamp": String(time), "webhook-signature": signature };
    const content = Buffer.from(body, "base64");
    for (const secret of secrets) {
      const library = new Webhook(secret);
      expect(library.verify(content, headers)).toBeTypeOf("object");
      expect(() => library.verify(Buffer.concat([content, Buffer.from(" ")]), headers)).toThrow();
    }
  });
});
