// The clients of the two APIs, with a `fetch` that answers as it is told.
import { describe, expect, it } from "vitest";
import { ApiError, MerchantClient } from "../src/merchant.js";
import { EVENTS_MAX, Publisher, newEvent } from "../src/publisher.js";

const charge = { id: "ch_1", object: "charge", amount: 4999, name: "Zoë" } as const;

/** Answers in the order told, the last answer again and again, and keeps what it was asked. */
function server(...answers: (() => Response)[]) {
  const asked: { method: string; url: string; body: string | undefined; init: RequestInit }[] = [];
  const told = async (url: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const body = init.body as string | undefined;
    asked.push({ method: init.method ?? "GET", url: String(url).replace("https://api.example", ""), body, init });
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    return answer!();
  };
  return { asked, options: { baseUrl: "https://api.example/", fetch: told as typeof fetch } };
}

const json = (status: number, document: unknown, headers: Record<string, string> = {}) => () =>
  new Response(JSON.stringify(document), { status, headers });

describe("the merchant's client", () => {
  it("calls the route of each method with the key", async () => {
    const { asked, options } = server(json(200, {}));
    const { webhookEndpoints, events, deliveries } = new MerchantClient("sk_test_1", options);
    await webhookEndpoints.create({ url: "https://example.com/hooks", enabled_events: ["charge.failed"] });
    await webhookEndpoints.list({ limit: 3 });
    await webhookEndpoints.retrieve("we_1/..");
    await webhookEndpoints.update("we_1", { description: null });
    await webhookEndpoints.delete("we_1");
    await webhookEndpoints.rotateSecret("we_1");
    await webhookEndpoints.rotateSecret("we_1", { expire_previous_in: "1h" });
    await webhookEndpoints.test("we_1", { type: "payout.paid" });
    await webhookEndpoints.listDeliveries("we_1", { status: "held", starting_after: "dlv_1" });
    await events.list({ type: "payout.paid", created_gte: 1, delivery_status: "abandoned" });
    await events.retrieve("evt_1");
    await events.listDeliveries("evt_1", { ending_before: "dlv_2" });
    await events.resend("evt_1", { webhook_endpoint: "we_1" });
    await deliveries.retrieve("dlv_1");
    await deliveries.retry("dlv_1");
    expect(asked.map(({ method, url, body }) => [method, url, body])).toEqual([
      ["POST", "/v1/webhook_endpoints", '{"url":"https://example.com/hooks","enabled_events":["charge.failed"]}'],
      ["GET", "/v1/webhook_endpoints?limit=3", undefined],
      ["GET", "/v1/webhook_endpoints/we_1%2F..", undefined],
      ["PATCH", "/v1/webhook_endpoints/we_1", '{"description":null}'],
      ["DELETE", "/v1/webhook_endpoints/we_1", undefined],
      ["POST", "/v1/webhook_endpoints/we_1/rotate_secret", "{}"],
      ["POST", "/v1/webhook_endpoints/we_1/rotate_secret", '{"expire_previous_in":"1h"}'],
      ["POST", "/v1/webhook_endpoints/we_1/test", '{"type":"payout.paid"}'],
      ["GET", "/v1/webhook_endpoints/we_1/deliveries?status=held&starting_after=dlv_1", undefined],
      ["GET", "/v1/events?type=payout.paid&created_gte=1&delivery_status=abandoned", undefined],
      ["GET", "/v1/events/evt_1", undefined],
      ["GET", "/v1/events/evt_1/deliveries?ending_before=dlv_2", undefined],
      ["POST", "/v1/events/evt_1/resend", '{"webhook_endpoint":"we_1"}'],
      ["GET", "/v1/deliveries/dlv_1", undefined],
      ["POST", "/v1/deliveries/dlv_1/retry", "{}"],
    ]);
    for (const { init } of asked) {
      expect(new Headers(init.headers).get("Authorization")).toBe("Bearer sk_test_1");
      expect(init.redirect).toBe("manual");
    }
  });

  it("answers with the data and no error", async () => {
    const { options } = server(json(201, { id: "we_1", signing_secret: "whsec_1" }));
    const [endpoint, error] = await new MerchantClient("sk", options).webhookEndpoints.create({ url: "https://a.example" });
    expect(error).toBeNull();
    expect(endpoint?.signing_secret).toBe("whsec_1");
  });

  it("answers a refusal with an error that names the fields, and throws nothing", async () => {
    const details = { fieldErrors: { url: ["must be https"] } };
    const refusal = { error: { type: "invalid_request_error", message: "Validation failed.", details } };
    const { options } = server(json(400, refusal, { "Request-Id": "req_1" }));
    const [endpoint, error] = await new MerchantClient("sk", options).webhookEndpoints.create({ url: "http://a.example" });
    expect(endpoint).toBeNull();
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      type: "invalid_request_error",
      message: "Validation failed.",
      status: 400,
      fieldErrors: { url: ["must be https"] },
      requestId: "req_1",
    });
  });

  it("answers with an error where the API did not answer itself", async () => {
    const { options } = server(
      () => new Response("<html>", { status: 502 }),
      () => new Response(null, { status: 302, headers: { Location: "https://elsewhere.example" } }),
      json(404, ["error"]),
      () => new Response("not JSON"),
      () => {
        throw new TypeError("fetch failed");
      },
    );
    const { events } = new MerchantClient("sk", options);
    const found: unknown[] = [];
    for (let i = 0; i < 5; i++) {
      const [, error] = await events.list();
      found.push([error?.status, error?.type]);
    }
    expect(found).toEqual([
      [502, "internal_error"],
      [302, "invalid_request_error"],
      [404, "invalid_request_error"],
      [0, "connection_error"],
      [0, "connection_error"],
    ]);
  });
});

const event = (more: object = {}) =>
  newEvent({ merchant_id: "m_1", livemode: false, type: "charge.succeeded", data: { object: charge }, ...more });

describe("the publisher", () => {
  function publisher(options: { baseUrl: string; fetch: typeof fetch }, retries = 5) {
    const pauses: number[] = [];
    const sleep = async (ms: number) => void pauses.push(ms);
    return { pauses, publisher: new Publisher("svc_1", { ...options, retries, sleep, chance: () => 1 }) };
  }

  it("repeats an event with the same key until it is accepted", async () => {
    const { asked, options } = server(
      json(503, { error: { type: "internal_error", message: "Later." } }, { "Retry-After": "7" }),
      json(429, { error: { type: "rate_limit_error", message: "Slower." } }),
      () => {
        throw new TypeError("fetch failed");
      },
      json(201, { id: "evt_1" }),
    );
    const { publisher: it, pauses } = publisher(options);
    expect(await it.publish(event({ created: 5 }))).toEqual([{ id: "evt_1" }, null]);
    expect(pauses).toEqual([7000, 1000, 2000]);
    expect(new Set(asked.map(({ body }) => body)).size).toBe(1);
    const { idempotency_key, ...rest } = JSON.parse(asked[0]!.body!);
    expect(idempotency_key).toMatch(/^[0-9a-f-]{36}$/);
    expect(rest).toEqual({
      merchant_id: "m_1",
      livemode: false,
      type: "charge.succeeded",
      created: 5,
      data: { object: charge },
    });
  });

  it("gives each event a key of its own, or the caller's", () => {
    expect(event().idempotency_key).not.toBe(event().idempotency_key);
    expect(event({ idempotency_key: "order-1" }).idempotency_key).toBe("order-1");
  });

  it("does not repeat a refusal, and its patience ends", async () => {
    const refusing = server(json(400, { error: { type: "invalid_request_error", message: "No." } }));
    const [, refusal] = await publisher(refusing.options).publisher.publish(event());
    expect([refusal?.message, refusing.asked.length]).toEqual(["No.", 1]);
    const broken = server(json(500, {}));
    const { publisher: it, pauses } = publisher(broken.options, 2);
    const [, error] = await it.publish(event());
    expect([error?.status, broken.asked.length, pauses]).toEqual([500, 3, [500, 1000]]);
  });

  it("publishes many events in as few requests as the limits allow", async () => {
    const { asked, options } = server(json(201, { data: [{ id: "evt" }] }));
    const { publisher: it } = publisher(options);
    expect(await it.publishBatch([])).toEqual([[], null]);
    const [published] = await it.publishBatch(Array.from({ length: EVENTS_MAX + 1 }, () => event()));
    expect(published).toHaveLength(2);
    const large = event({ data: { object: { ...charge, text: "é".repeat(125_000) } } });
    await it.publishBatch(Array.from({ length: 100 }, () => large));
    const sizes = asked.map(({ body }) => (JSON.parse(body!) as { events: unknown[] }).events.length);
    expect(sizes).toEqual([EVENTS_MAX, 1, 67, 33]);
    expect(Math.max(...asked.map(({ body }) => Buffer.byteLength(body!)))).toBeLessThanOrEqual(16 * 1024 * 1024);
  });

  it("answers a batch with the error of the request that failed", async () => {
    const { options } = server(json(201, { data: [{ id: "evt" }] }), json(400, {}));
    const [data, error] = await publisher(options).publisher.publishBatch(Array.from({ length: 1001 }, () => event()));
    expect([data, error?.status]).toEqual([null, 400]);
  });
});
