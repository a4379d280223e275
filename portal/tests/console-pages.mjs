// Every page of the console with half a day of work behind it: nothing for axe to find in light and dark, a small first load,
// and a picture of each in light, in dark and on a phone.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { accessibility, internal, launch, receiver, register, run, service, watched } from "./support.mjs";

const PICTURES = process.env.K_WEBHOOKS_PICTURES;
const FIRST_LOAD_BYTES_MAX = 100_000;
const STEPS = 48;
const MERCHANTS = ["m_lumen_books", "m_alpine_gear", "m_harbour_coffee", "m_north_prints"];

const browser = await launch();
const wrong = [];
await mkdir(PICTURES, { recursive: true });
const hooks = await Promise.all(MERCHANTS.map(() => receiver()));
const seen = {};

/** An operator's browser that has opened the console. */
async function open(options = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin", ...options });
  const page = await watched(context, wrong, ["Failed to load resource"], service.internal);
  await page.goto(`${service.internal}/console`);
  await page.getByLabel("Service key").fill(service.key);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  return page;
}

const settled = (page) => page.waitForFunction(() => !document.body.innerText.includes("Loading…"));
const advance = (by) => internal("POST", "/v1/test_clock/advance", { by });

/** The pages; each with what it needs to have shown. */
const pages = () => [
  ["overview", "", "Alive"],
  ["failing", "/failing", "Failing for"],
  ["abandoned", "/abandoned", "Given up"],
  ["find", "/find", "An id"],
  ["keys", "/keys", "Made"],
  ["audit", "/audit", "bootstrap key"],
  ["event", `/events/${seen.event}`, "What happened"],
  ["delivery", `/deliveries/${seen.delivery}`, "What it answered"],
  ["endpoint", `/endpoints/${seen.endpoint}`, "Failing since"],
  ["merchant", `/merchants/${MERCHANTS[1]}?mode=test`, "Endpoint registered"],
  ["key", `/objects/${seen.key}`, "Key made"],
];

async function visit(page, path, text) {
  await page.goto(`${service.internal}/console${path}`);
  await page.locator("main").getByText(text, { exact: true }).or(page.locator("main").getByText(text)).first().waitFor();
  await settled(page);
  await page.waitForLoadState("load");
}

await run([
  ["a service at rest has nothing for axe to find", async () => {
    const page = await open();
    for (const [path, text] of [["", "No endpoint fails."], ["/failing", "No endpoint fails"], ["/abandoned", "Nothing was abandoned"], ["/keys", "API keys"], ["/audit", "bootstrap key"]]) {
      await visit(page, path, text);
      assert.deepEqual(await accessibility(page), [], path);
    }
    await page.screenshot({ path: `${PICTURES}/rest-light.png` });
    await page.context().close();
  }],
  ["half a day passes, in which two merchants' endpoints begin to fail", async () => {
    const endpoints = [];
    for (const [index, merchant] of MERCHANTS.entries()) {
      endpoints.push(await register(merchant, { url: hooks[index].url.replace("hooks", "webhooks/payments") }));
    }
    for (let step = 0; step < STEPS; step++) {
      hooks[1].status = step > STEPS * 0.6 ? 503 : 200;
      hooks[3].status = step > STEPS * 0.9 ? 404 : 200;
      hooks[0].status = step % 13 === 5 ? 500 : 200;
      const busy = 8 + Math.round(10 * (1 + Math.sin(step / 6)));
      const events = Array.from({ length: busy }, (_, index) => {
        const id = `ch_${(step * 7919 + index * 104_729).toString(36)}`;
        const object = { id, object: "charge", amount: 900 + step * index, currency: "eur" };
        return { merchant_id: MERCHANTS[index % MERCHANTS.length], livemode: false, type: "charge.succeeded", data: { object } };
      });
      const published = await internal("POST", "/v1/events/batch", { events });
      if (step === STEPS - 4) seen.event = published.data[1].id;
      await advance("15m");
    }
    // An endpoint that is gone gives up what was for it.
    hooks[2].status = 410;
    const last = { id: "ch_last", object: "charge", amount: 100, currency: "eur" };
    await internal("POST", "/v1/events", { merchant_id: MERCHANTS[2], livemode: false, type: "charge.succeeded", data: { object: last } });
    await advance("1m");
    seen.endpoint = endpoints[1].id;
    seen.delivery = (await internal("GET", `/v1/all/events/${seen.event}/deliveries`)).data[0].id;
    const key = await internal("POST", `/v1/merchants/${MERCHANTS[1]}/api_keys`, { livemode: true });
    seen.key = key.id;
    await internal("POST", `/v1/all/webhook_endpoints/${endpoints[3].id}/hold`, { reason: "It answers 404 to everything; its merchant is told." });
  }],
  ["the first load is small", async () => {
    const context = await browser.newContext();
    const page = await watched(context, wrong, ["Failed to load resource"], service.internal);
    const network = await context.newCDPSession(page);
    await network.send("Network.enable");
    const files = new Map();
    let bytes = 0;
    network.on("Network.responseReceived", ({ requestId, response }) => {
      if (new URL(response.url).pathname.startsWith("/console") && !response.url.endsWith("/session")) files.set(requestId, response);
    });
    network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (files.has(requestId)) bytes += encodedDataLength;
    });
    await page.goto(`${service.internal}/console`);
    await page.getByRole("heading", { name: "Open the console" }).waitFor();
    await page.waitForLoadState("networkidle");
    const coded = [...files.values()].filter(({ headers }) => /^(br|gzip)$/.test(headers["Content-Encoding"] ?? headers["content-encoding"] ?? ""));
    assert(files.size >= 3 && coded.length >= 3, `${files.size} files, ${coded.length} compressed`);
    console.log(`the first load has ${bytes} bytes in ${files.size} files`);
    assert(bytes > 10_000 && bytes <= FIRST_LOAD_BYTES_MAX, `${bytes} bytes`);
    await context.close();
  }],
  ...["light", "dark"].map((appearance) => [
    `axe finds nothing on any page in ${appearance}, and each has its picture`,
    async () => {
      const viewport = { width: 1360, height: 900 };
      const stranger = await browser.newContext({ colorScheme: appearance, viewport });
      const door = await watched(stranger, wrong, ["Failed to load resource"], service.internal);
      await door.goto(`${service.internal}/console`);
      await door.getByRole("heading", { name: "Open the console" }).waitFor();
      assert.deepEqual(await accessibility(door), [], "sign-in");
      await door.screenshot({ path: `${PICTURES}/sign-in-${appearance}.png` });
      await stranger.close();
      const page = await open({ colorScheme: appearance, viewport });
      for (const [name, path, text] of pages()) {
        await visit(page, path, text);
        assert.deepEqual(await accessibility(page), [], name);
        await page.screenshot({ path: `${PICTURES}/${name}-${appearance}.png`, fullPage: true });
      }
      for (const [name, path, button] of [["hold", `/endpoints/${seen.endpoint}`, /^Hold /], ["revoke", `/objects/${seen.key}`, /^Revoke /]]) {
        await visit(page, path, /./);
        await page.getByRole("button", { name: button }).click();
        await page.getByRole("dialog").waitFor();
        assert.deepEqual(await accessibility(page), [], name);
        await page.screenshot({ path: `${PICTURES}/${name}-${appearance}.png` });
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
      }
      await page.context().close();
    },
  ]),
  ["on a phone every page fits, and axe finds nothing", async () => {
    const page = await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
    for (const [name, path, text] of pages()) {
      await visit(page, path, text);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert(wide <= 0, `${name} is ${wide} pixels too wide`);
      assert.deepEqual(await accessibility(page), [], name);
      await page.screenshot({ path: `${PICTURES}/${name}-phone.png` });
    }
    await page.context().close();
  }],
]);

await browser.close();
hooks.forEach((one) => one.close());
assert.deepEqual(wrong, []);
console.log("every page is well");
