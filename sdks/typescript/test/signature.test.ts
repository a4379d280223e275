import { describe, expect, it } from "vitest";
import {
  EVENT_TYPES,
  EventError,
  SignatureError,
  constructEvent,
  constructEventFromRequest,
  isEventOf,
  parseEvent,
  signHeader,
  verifySignature,
} from "../src/index.js";
import { BODY, NOW, SECRET, TEXT, VECTORS, bytes } from "./support.js";

describe("the cases that every library and the server agree on", () => {
  it.each(VECTORS.cases)("$name", async ({ body, header, secret, tolerance, time, reason }) => {
    const check = verifySignature(Buffer.from(body, "base64"), header, secret, { tolerance, now: time });
    const found = await check.then(
      () => null,
      (error: unknown) => (error instanceof SignatureError ? error.kind : error),
    );
    expect(found).toBe(reason);
  });

  it.each(VECTORS.signing)("signing $name", async ({ body, secrets, time, header }) => {
    expect(await signHeader(Buffer.from(body, "base64"), secrets, { at: time })).toBe(header);
  });
});

describe("what the cases in the file do not say", () => {
  it("gives a verified body as an event whose type narrows its data", async () => {
    const event = await constructEvent(BODY, await signHeader(BODY, SECRET, { at: NOW }), SECRET, { now: NOW });
    expect(isEventOf(event, "charge.refunded")).toBe(true);
    if (event.type === "charge.refunded") {
      const name: "charge" = event.data.object.object;
      expect([name, event.data.object["amount"]]).toEqual(["charge", 4999]);
    }
    expect(event.data.previous_attributes).toEqual({ amount_refunded: 0 });
    expect(EVENT_TYPES).toHaveLength(11);
  });

  it("takes a request of the Fetch API", async () => {
    const headers = { "K-Payments-Signature": await signHeader(BODY, SECRET) };
    const request = new Request("https://example.com/hooks", { method: "POST", headers, body: TEXT });
    expect((await constructEventFromRequest(request, SECRET)).id).toBe("evt_1");
    const bare = new Request("https://example.com/hooks", { method: "POST", body: TEXT });
    await expect(constructEventFromRequest(bare, SECRET)).rejects.toMatchObject({ kind: "missing_header" });
  });

  it("lets a signature be five minutes old unless said otherwise", async () => {
    const header = await signHeader(BODY, SECRET, { at: NOW });
    await verifySignature(BODY, header, SECRET, { now: NOW + 300 });
    await expect(verifySignature(BODY, header, SECRET, { now: NOW + 301 })).rejects.toMatchObject({
      kind: "timestamp_too_old",
    });
    await verifySignature(BODY.slice().buffer, await signHeader(BODY, SECRET), SECRET);
  });

  it.each([TEXT, JSON.parse(TEXT), null, undefined, [1, 2]])("refuses a body that is not bytes", async (body) => {
    await expect(verifySignature(body as never, "t=1,v1=00", SECRET)).rejects.toThrow(/raw bytes/);
  });

  it.each(["", "whsec_", `${SECRET}\n`, SECRET.slice(6), "whsec_c2hvcnQ=", undefined])(
    "refuses a text that is no secret",
    async (secret) => {
      await expect(verifySignature(BODY, undefined, secret as never)).rejects.toThrow(/whsec_/);
    },
  );

  it("takes a type that is not known yet", () => {
    expect(parseEvent(bytes(TEXT.replace("charge.refunded", "charge.captured"))).type).toBe("charge.captured");
  });

  it.each(["", "[]", "1", "null", "{}", TEXT.replace('"id":"ch_1",', ""), TEXT.replace("1749651729", '"x"')])(
    "refuses what was signed and is no event: %s",
    async (text) => {
      const body = bytes(text);
      await expect(constructEvent(body, await signHeader(body, SECRET), SECRET)).rejects.toThrow(EventError);
    },
  );
});
