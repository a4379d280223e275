// The recipes for web frameworks, each behind the server that it is for.
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { NextRequest } from "next/server.js";
import { describe, expect, it } from "vitest";
import { receiver as express } from "../recipes/express.js";
import { receiver as fastify } from "../recipes/fastify.js";
import { receiver as next } from "../recipes/next.js";
import { signHeader, type WebhookEvent } from "../src/index.js";
import { BODY, SECRET } from "./support.js";

type Process = (event: WebhookEvent) => unknown;
type Post = (body: Uint8Array, headers: Record<string, string>) => Promise<[number, string]>;

const request = (body: Uint8Array, headers: Record<string, string>) => ({
  method: "POST",
  body: new Uint8Array(body),
  headers: { "Content-Type": "application/json", ...headers },
});

function onExpress(process: Process): Post {
  const app = express(SECRET, process);
  return async (body, headers) => {
    const server = createServer(app).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}/hooks`, request(body, headers));
    const answer: [number, string] = [response.status, await response.text()];
    server.closeAllConnections();
    server.close();
    return answer;
  };
}

function onFastify(process: Process): Post {
  const app = fastify(SECRET, process);
  return async (body, headers) => {
    const { headers: all } = request(body, headers);
    const response = await app.inject({ method: "POST", url: "/hooks", payload: Buffer.from(body), headers: all });
    return [response.statusCode, response.body];
  };
}

function onNext(process: Process): Post {
  const POST = next(SECRET, process);
  return async (body, headers) => {
    const response = await POST(new NextRequest("https://example.com/hooks", request(body, headers)));
    return [response.status, await response.text()];
  };
}

describe.each([
  ["Express", onExpress],
  ["Fastify", onFastify],
  ["Next", onNext],
])("the recipe for %s", (_, start) => {
  it("processes a delivery, and not its duplicate", async () => {
    const processed: string[] = [];
    const post = start((event) => processed.push(event.id));
    const headers = { "K-Payments-Signature": await signHeader(BODY, SECRET) };
    expect(await post(BODY, headers)).toEqual([204, ""]);
    expect(await post(BODY, headers)).toEqual([204, ""]);
    expect(processed).toEqual(["evt_1"]);
  });

  it("refuses an altered body, a missing header, and what is no event, with the reason", async () => {
    const processed: string[] = [];
    const post = start((event) => processed.push(event.id));
    const headers = { "K-Payments-Signature": await signHeader(BODY, SECRET) };
    expect(await post(Buffer.concat([BODY, Buffer.from(" ")]), headers)).toEqual([400, "no_matching_signature"]);
    expect(await post(BODY, {})).toEqual([400, "missing_header"]);
    const garbage = new Uint8Array([0xff]);
    const signed = { "K-Payments-Signature": await signHeader(garbage, SECRET) };
    expect(await post(garbage, signed)).toEqual([400, "malformed_event"]);
    expect(processed).toEqual([]);
  });
});
