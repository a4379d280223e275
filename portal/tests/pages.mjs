// Every page with a day of events behind it: nothing for axe to find in light and dark, a small first load, long lists that
// stay light, and a picture of each in light, in dark and on a phone.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { accessibility, internal, launch, publish, receiver, register, run, service, session, watched } from "./support.mjs";

const MERCHANT = "m_lumen_books";
const PICTURES = process.env.K_WEBHOOKS_PICTURES;
const FIRST_LOAD_BYTES_MAX = 100_000;
const STEPS = 96;
const MANY = 100_000;

const KINDS = [
  ["charge.succeeded", "charge", "ch"],
  ["charge.succeeded", "charge", "ch"],
  ["charge.succeeded", "charge", "ch"],
  ["charge.failed", "charge", "ch"],
  ["payout.paid", "payout", "po"],
  ["refund.created", "refund", "re"],
  ["charge.refunded", "charge", "ch"],
  ["dispute.created", "dispute", "dp"],
];

const browser = await launch();
const wrong = [];
await mkdir(PICTURES, { recursive: true });
const [orders, ledger, staging] = [await receiver(), await receiver(), await receiver()];
const seen = {};

/** A merchant's browser, with a session of its own. */
async function open(options = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin", ...options });
  const page = await watched(context, wrong);
  await page.goto((await session(MERCHANT, { expires_in: "2h" })).url);
  await page.getByRole("heading", { level: 1 }).waitFor();
  return page;
}

const settled = (page) => page.waitForFunction(() => !document.body.innerText.includes("Loading…"));
const advance = (by) => internal("POST", "/v1/test_clock/advance", { by });

const endpoint = (body) => register(MERCHANT, body);

/** The pages, once there is something on them; each with what it needs to have shown. */
const pages = () => [
  ["overview", "", "By endpoint"],
  ["events", "/events", /^Retrying \d/],
  ["event", `/events/${seen.failing}`, "What happened"],
  ["endpoints", "/endpoints", "Failing"],
  ["endpoint", `/endpoints/${seen.staging}`, "Failing since"],
  ["verify", "/verify", "Three things to paste"],
  ["start", "/start", "Verify it in your language"],
];

async function visit(page, path, text) {
  await page.goto(`${service.public}/portal${path}`);
  await page.locator("main").getByText(text).first().waitFor();
  await settled(page);
  await page.waitForLoadState("load");
}

await run([
  ["an empty account leads to the first steps, and axe finds nothing there", async () => {
    const page = await open();
    for (const path of ["", "/events", "/endpoints", "/start"]) {
      await page.goto(`${service.public}/portal${path}`);
      await page.locator("main").getByText(/Receive your first|Get started/).first().waitFor();
      await settled(page);
      assert.deepEqual(await accessibility(page), [], path);
    }
    await page.goto(`${service.public}/portal`);
    await page.getByText("Get started").waitFor();
    await page.screenshot({ path: `${PICTURES}/empty-light.png` });
    await page.context().close();
  }],
  ["a day passes, in which one endpoint begins to fail", async () => {
    const first = await endpoint({ url: orders.url.replace("hooks", "orders"), description: "Orders and fulfilment" });
    [seen.orders, seen.secret] = [first.id, first.signing_secret];
    const payouts = ["payout.created", "payout.paid", "payout.failed"];
    seen.ledger = (await endpoint({ url: ledger.url.replace("hooks", "ledger"), description: "Bookkeeping", enabled_events: payouts })).id;
    seen.staging = (await endpoint({ url: staging.url.replace("hooks", "staging") })).id;
    for (let step = 0; step < STEPS; step++) {
      staging.status = step > STEPS * 0.7 ? 503 : 200;
      orders.status = step % 17 === 3 ? 500 : 200;
      const busy = 2 + Math.round(5 * (1 + Math.sin(step / 9)));
      const events = Array.from({ length: busy }, (_, index) => {
        const [type, object, prefix] = KINDS[(step * 5 + index * 3) % KINDS.length];
        const number = step * 31 + index * 7;
        return {
          merchant_id: MERCHANT,
          livemode: false,
          type,
          data: {
            object: {
              id: `${prefix}_${(number * 7919 + 46_656).toString(36)}`,
              object,
              amount: 900 + ((number * 7919) % 48_000),
              currency: "eur",
              description: `Order ${10_200 + number}`,
              customer: { name: "Ada Byron", email: "ada@example.com" },
            },
          },
        };
      });
      const published = await internal("POST", "/v1/events/batch", { events });
      if (step === STEPS - 2) seen.failing = published.data[0].id;
      await advance("15m");
    }
  }],
  ["the first load is small", async () => {
    const context = await browser.newContext();
    const page = await watched(context, wrong);
    const network = await context.newCDPSession(page);
    await network.send("Network.enable");
    const files = new Map();
    let bytes = 0;
    network.on("Network.responseReceived", ({ requestId, response }) => {
      if (new URL(response.url).pathname.startsWith("/portal") && !response.url.endsWith("/session")) files.set(requestId, response);
    });
    network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (files.has(requestId)) bytes += encodedDataLength;
    });
    await page.goto((await session(MERCHANT)).url);
    await page.getByText("By endpoint").waitFor();
    const coded = [...files.values()].filter(({ headers }) => /^(br|gzip)$/.test(headers["Content-Encoding"] ?? headers["content-encoding"] ?? ""));
    assert(files.size >= 3 && coded.length >= 3, `${files.size} files, ${coded.length} compressed`);
    console.log(`the first load has ${bytes} bytes in ${files.size} files`);
    assert(bytes > 10_000 && bytes <= FIRST_LOAD_BYTES_MAX, `${bytes} bytes`);
    await context.close();
  }],
  ["a long list keeps few rows, however far it is scrolled", async () => {
    const page = await open({ viewport: { width: 1280, height: 900 } });
    await visit(page, "/events", "Amount");
    const rows = page.locator("main").getByRole("listitem");
    let most = 0;
    const end = page.getByText(/entries, and no more/);
    for (let turn = 0; turn < 60 && !(await end.isVisible()); turn++) {
      await page.mouse.wheel(0, 1500);
      await settled(page);
      most = Math.max(most, await rows.count());
    }
    await end.waitFor();
    const all = Number((await end.innerText()).match(/\d+/)[0]);
    assert(all > 400 && most < 80, `${most} of ${all} rows`);
    await page.context().close();
  }],
  ["what is read stays in its place while newer events come", async () => {
    const page = await open({ viewport: { width: 1280, height: 900 } });
    await visit(page, "/events", "Amount");
    await page.evaluate(() => scrollTo({ top: 1500, behavior: "instant" }));
    const inSight = await page.waitForFunction(() => document.elementFromPoint(640, 450)?.closest("a")?.href);
    const read = page.locator(`main li:has([href="${new URL(await inSight.jsonValue()).pathname}"])`);
    const [before, place] = [await read.boundingBox(), Number(await read.getAttribute("aria-posinset"))];
    await publish(MERCHANT, "charge.succeeded", { id: "ch_newer", object: "charge", amount: 100, currency: "eur" });
    await page.locator(`main li[aria-posinset="${place + 1}"]`).and(read).waitFor();
    assert.deepEqual(await read.boundingBox(), before);
    // Nor was more read than what is near.
    assert(Number(await read.getAttribute("aria-setsize")) < 200);
    await page.context().close();
  }],
  ["100,000 events scroll from end to end, of which few are there at a time", async () => {
    const page = await open({ viewport: { width: 1280, height: 900 } });
    const id = (place) => `evt_${String(MANY - place).padStart(26, "0")}`;
    const event = (place) => ({
      id: id(place),
      object: "event",
      type: "charge.succeeded",
      created: 1_749_651_729 - place,
      livemode: false,
      data: { object: { id: `ch_${place}`, object: "charge", amount: place, currency: "eur" } },
      pending_webhooks: 0,
      delivery_counts: { pending: 0, retrying: 0, held: 0, succeeded: 1, abandoned: 0 },
    });
    await page.route(
      (url) => url.pathname === "/v1/events",
      (route) => {
        const query = new URL(route.request().url()).searchParams;
        const after = query.get("starting_after");
        const first = after === null ? 0 : MANY - Number(after.slice(4)) + 1;
        const length = Math.min(Number(query.get("limit")), MANY - first);
        const data = Array.from({ length }, (_, index) => event(first + index));
        return route.fulfill({ json: { object: "list", url: "/v1/events", data, has_more: first + length < MANY } });
      },
    );
    await visit(page, "/events", "Amount");
    const { most, frames } = await page.evaluate(async () => {
      const list = document.querySelector("main ul[aria-label]");
      const end = document.querySelector("main section > p[role=status]");
      let [most, last, frames] = [0, performance.now(), []];
      while (!/no more/.test(end.textContent)) {
        scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - last);
        last = now;
        most = Math.max(most, list.children.length);
      }
      return { most, frames: frames.sort((one, other) => one - other) };
    });
    assert(most < 80, `${most} rows`);
    await page.evaluate(() => scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" }));
    await page.locator(`main li[aria-posinset="${MANY}"]:has([href*="${id(MANY - 1)}"])`).waitFor();
    console.log(`${frames.length} frames; 95 % of them within ${Math.round(frames[Math.floor(frames.length * 0.95)])} ms`);
    await page.evaluate(() => scrollTo({ top: document.documentElement.scrollHeight / 2, behavior: "instant" }));
    await page.locator(`main li[aria-posinset="${MANY / 2}"]`).waitFor();
    await page.context().close();
  }],
  ...["light", "dark"].map((appearance) => [
    `axe finds nothing on any page in ${appearance}, and each has its picture`,
    async () => {
      const page = await open({ colorScheme: appearance, viewport: { width: 1360, height: 900 } });
      for (const [name, path, text] of pages()) {
        await visit(page, path, text);
        assert.deepEqual(await accessibility(page), [], name);
        await page.screenshot({ path: `${PICTURES}/${name}-${appearance}.png` });
      }
      await visit(page, "/verify", "Three things to paste");
      const { headers, body } = orders.requests.at(-1);
      await page.getByLabel("K-Payments-Signature").fill(headers["k-payments-signature"]);
      await page.getByLabel("Body").fill(JSON.stringify(JSON.parse(body), null, 2));
      await page.getByLabel("Signing secret").fill(seen.secret);
      await page.getByLabel(/Accept any time/).check();
      await page.getByText(/parsed and written again/).first().waitFor();
      assert.deepEqual(await accessibility(page), [], "verify-failing");
      await page.screenshot({ path: `${PICTURES}/verify-failing-${appearance}.png` });
      await visit(page, `/endpoints/${seen.staging}`, "Settings");
      for (const [name, title] of [["edit", "Edit"], ["rotate", "Rotate secret"], ["delete", "Delete"], ["backfill", "Send past events"]]) {
        await page.getByRole("button", { name: title, exact: true }).click();
        await page.getByRole("dialog").waitFor();
        if (name === "edit") await page.getByLabel("Only these").check();
        if (name === "backfill") {
          await page.getByRole("button", { name: "Count first" }).click();
          await page.getByText(/events? match/).waitFor();
        }
        assert.deepEqual(await accessibility(page), [], name);
        await page.screenshot({ path: `${PICTURES}/${name}-${appearance}.png` });
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
      }
      await visit(page, `/events/${seen.failing}`, "What happened");
      for (const part of ["Request", "Signature", "curl"]) {
        await page.getByRole("button", { name: part, exact: true }).first().click();
        await settled(page);
        assert.deepEqual(await accessibility(page), [], part);
        await page.screenshot({ path: `${PICTURES}/event-${part.toLowerCase()}-${appearance}.png` });
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
  ["whatever colour the platform has, it can be read", async () => {
    for (const accent of ["#ffee00", "#101010", "#e0f0ff", "#ff3366"]) {
      for (const appearance of ["light", "dark"]) {
        const context = await browser.newContext();
        const page = await watched(context, wrong);
        await page.goto((await session(MERCHANT, { theme: { accent, appearance } })).url);
        await page.getByText("By endpoint").waitFor();
        assert.deepEqual(await accessibility(page), [], `${accent} ${appearance}`);
        await context.close();
      }
    }
  }],
]);

await browser.close();
[orders, ledger, staging].forEach((one) => one.close());
assert.deepEqual(wrong, []);
console.log("every page is well");
