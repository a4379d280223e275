// What the browser tests share: Chromium, a receiver that does as it is told, the service's APIs, and words on what failed.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.K_WEBHOOKS_CHROMIUM ?? "/usr/bin/chromium";
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** The service under test: its addresses and a service key. */
export const service = {
  public: process.env.K_WEBHOOKS_PUBLIC,
  internal: process.env.K_WEBHOOKS_INTERNAL,
  key: process.env.K_WEBHOOKS_SERVICE_KEY,
};

export async function internal(method, path, body) {
  const response = await fetch(service.internal + path, {
    method,
    headers: { authorization: `Bearer ${service.key}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json();
  assert(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

export const session = (merchant, more = {}) =>
  internal("POST", "/v1/portal_sessions", { merchant_id: merchant, livemode: false, ...more });

export const publish = (merchant, type, object) =>
  internal("POST", "/v1/events", { merchant_id: merchant, livemode: false, type, data: { object } });

/** Registers an endpoint of the merchant's test data. */
export async function register(merchant, body) {
  const key = await internal("POST", `/v1/merchants/${merchant}/api_keys`, { livemode: false });
  const response = await fetch(`${service.public}/v1/webhook_endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${key.secret_key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}

/** A receiver on a port of its own, which answers with `status` and keeps what it got. */
export async function receiver() {
  const own = { status: 200, requests: [], url: "", close: () => {} };
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      own.requests.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      response.writeHead(own.status, { "content-type": "application/json" });
      response.end(JSON.stringify(own.status < 300 ? { received: true } : { error: "out of order" }));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  own.url = `http://127.0.0.1:${server.address().port}/hooks`;
  own.close = () => server.closeAllConnections() ?? server.close();
  return own;
}

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });

/** A page that may not complain: what it logs as an error, and what it asks of others, fails the test at its end. */
export async function watched(context, wrong, expected = [], own = service.public) {
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => {
    const text = message.text();
    const known = expected.some((one) => text.includes(one));
    if (["error", "warning"].includes(message.type()) && !known) wrong.push(`console: ${text}`);
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== own && protocol !== "data:") wrong.push(`asked ${request.url()}`);
  });
  return page;
}

/** What axe finds on a page. Its source is evaluated, because the page's policy lets no script of others in. */
export async function accessibility(page) {
  if (!(await page.evaluate(() => "axe" in window))) {
    const { readFile } = await import("node:fs/promises");
    await page.evaluate(await readFile(AXE, "utf8"));
  }
  // Half-way from one colour to another there is less contrast.
  await page.evaluate(() =>
    Promise.allSettled(
      document
        .getAnimations()
        .filter((one) => Number.isFinite(one.effect.getComputedTiming().endTime))
        .map((one) => one.finished),
    ),
  );
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  return violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.target.join(" ")}: ${node.failureSummary}`),
  );
}

/** Runs steps in order and says which one failed. */
export async function run(steps) {
  for (const [name, step] of steps) {
    try {
      await step();
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`FAILED ${name}`);
      throw error;
    }
  }
}
