// Both clients and the library against the service itself, where K_WEBHOOKS_BIN names its program.
import { spawn, type ChildProcess } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { constructEvent } from "../src/index.js";
import { MerchantClient, type Result } from "../src/merchant.js";
import { Publisher, newEvent } from "../src/publisher.js";

const BIN = process.env["K_WEBHOOKS_BIN"];

/** The data of an answer that has no error. */
async function data<Data>(result: Promise<Result<Data>>): Promise<Data> {
  const [data, error] = await result;
  if (error) throw error;
  return data;
}

describe.skipIf(BIN === undefined)("the service", () => {
  let folder: string;
  const found = new Map<string, string>();
  const arrivals = new EventEmitter();
  const requests: { headers: IncomingHttpHeaders; body: Buffer }[] = [];
  let service: ChildProcess;
  let receiver: Server;
  let url: string;

  async function arrived(count: number) {
    while (requests.length < count) await once(arrivals, "request");
    return requests.slice(0, count);
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "k-webhooks-"));
    const options = ["--set", "server.listen=127.0.0.1:0", "--set", "internal.listen=127.0.0.1:0"];
    service = spawn(BIN!, ["serve", ...options], {
      cwd: folder,
      // Where it keeps the keys that it makes.
      env: { ...process.env, XDG_CONFIG_HOME: folder },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const patterns: [string, RegExp][] = [
      ["service key", /(svc_\w+)/],
      ["merchant key", /(sk_test_\w+)/],
      ["public", /(http:\/\/127\.0\.0\.1:\d+)\/v1\/webhook_endpoints/],
      ["internal", /(http:\/\/127\.0\.0\.1:\d+)\/v1\/events/],
    ];
    const lines = createInterface({ input: service.stdout! });
    await new Promise<void>((resolve) =>
      lines.on("line", (line) => {
        for (const [name, pattern] of patterns) {
          const match = pattern.exec(line);
          if (match && !found.has(name)) found.set(name, match[1]!);
        }
        if (found.size === patterns.length) resolve();
      }),
    );
    receiver = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      requests.push({ headers: request.headers, body: Buffer.concat(chunks) });
      response.writeHead(204).end();
      arrivals.emit("request");
    }).listen(0, "127.0.0.1");
    await once(receiver, "listening");
    url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hooks`;
  }, 30_000);

  afterAll(async () => {
    service.kill("SIGTERM");
    await once(service, "exit");
    receiver.closeAllConnections();
    receiver.close();
    rmSync(folder, { recursive: true });
  }, 30_000);

  it("delivers what is published, and every library verifies it", async () => {
    const merchant = new MerchantClient(found.get("merchant key")!, { baseUrl: found.get("public")! });
    const publisher = new Publisher(found.get("service key")!, { baseUrl: found.get("internal")! });
    const endpoint = await data(merchant.webhookEndpoints.create({ url, enabled_events: ["charge.succeeded"] }));
    const rotated = await data(merchant.webhookEndpoints.rotateSecret(endpoint.id));
    const charge = { id: "ch_1", object: "charge" as const, amount: 4999, name: "Zoë 東京" };
    const make = () =>
      newEvent({ merchant_id: "m_demo", livemode: false, type: "charge.succeeded", data: { object: charge } });
    const event = make();
    const published = await data(publisher.publish(event));
    expect((await data(publisher.publish(event))).id, "the same event again").toBe(published.id);
    const batch = await data(publisher.publishBatch([make(), make()]));
    const ids = new Set<string>();
    for (const { headers, body } of await arrived(3)) {
      const header = headers["k-payments-signature"] as string;
      for (const secret of [endpoint.signing_secret, rotated.signing_secret]) {
        const verified = await constructEvent(body, header, secret);
        expect(verified.data.object).toEqual(charge);
        expect(new Stripe("sk_test_unused").webhooks.constructEvent(body, header, secret).id).toBe(verified.id);
        expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toMatchObject({ id: verified.id });
        ids.add(verified.id);
      }
    }
    expect(ids).toEqual(new Set([published.id, ...batch.map(({ id }) => id)]));
    const deliveries = await data(merchant.events.listDeliveries(published.id));
    expect(deliveries.data.map(({ webhook_endpoint }) => webhook_endpoint)).toEqual([endpoint.id]);
    const [, error] = await merchant.webhookEndpoints.create({ url: "ftp://example.com" });
    expect(Object.keys(error!.fieldErrors)).toEqual(["url"]);
    expect(await data(merchant.webhookEndpoints.delete(endpoint.id))).toMatchObject({ deleted: true });
  }, 30_000);
});
