// The whole journey of a merchant, in a real browser on the real service: from an empty account to a rotated secret, with a
// receiver that fails and recovers.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { internal, launch, publish, receiver, run, service, session, watched } from "./support.mjs";

const MERCHANT = "m_journey";
const hooks = await receiver();
const browser = await launch();
const wrong = [];
const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin", viewport: { width: 1280, height: 900 } });
await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: service.public });
// A refused call is logged by the browser itself.
const page = await watched(context, wrong, ["Failed to load resource"]);
const main = page.locator("main");
const dialog = page.getByRole("dialog");
const button = (name, within = page) => within.getByRole("button", { name, exact: true });
const link = (name, within = page) => within.getByRole("link", { name });
const charge = (id) => ({ id, object: "charge", amount: 4999, currency: "eur" });

let secret = "";
let made;

const signed = ({ headers, body }, key) => {
  const signature = headers["k-payments-signature"];
  const t = signature.match(/t=(\d+)/)[1];
  const expected = createHmac("sha256", key).update(`${t}.${body}`).digest("hex");
  return signature.includes(`v1=${expected}`);
};

await run([
  ["a link opens the portal once and leaves nothing behind", async () => {
    made = await session(MERCHANT);
    await page.goto(made.url);
    await page.getByRole("heading", { name: "Receive your first webhook" }).waitFor();
    assert.equal(page.url(), `${service.public}/portal`);
    const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
    assert.deepEqual(kept, [0, 0, ""]);
    const other = await (await browser.newContext()).newPage();
    await other.goto(made.url);
    await other.getByText("This page needs a new link").waitFor();
    await other.close();
  }],
  ["an endpoint is added, and its secret is shown once", async () => {
    await link("Get started", main).click();
    await page.getByLabel("URL").fill("ftp://example.com");
    await button("Add endpoint", main).click();
    await main.getByText(/must be/).waitFor();
    await page.getByLabel("URL").fill(hooks.url);
    await button("Add endpoint", main).click();
    secret = await main.locator("code", { hasText: "whsec_" }).innerText();
    assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
    await button("Copy the signing secret", main).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
  }],
  ["a test event fails, is explained, and the next one arrives", async () => {
    hooks.status = 503;
    await button("Send a test event", main).click();
    await main.getByText(/answered 503/).waitFor();
    await main.getByText(/Its log says why/).first().waitFor();
    hooks.status = 200;
    await button("Send a test event", main).click();
    await main.getByText(/Your server answered 200/).waitFor();
    assert(signed(hooks.requests.at(-1), secret), "what arrived is signed with the secret that was shown");
  }],
  ["an event appears by itself, fails, recovers, and the list says so", async () => {
    await link("Events").first().click();
    await main.getByRole("listitem").first().waitFor();
    hooks.status = 500;
    await publish(MERCHANT, "charge.succeeded", charge("ch_live"));
    const row = main.getByRole("listitem").filter({ hasText: "ch_live" });
    await row.getByText("Retrying").waitFor();
    hooks.status = 200;
    await row.getByText("Delivered").waitFor();
    await row.getByRole("link").click();
  }],
  ["each attempt is there with what was sent and what came back", async () => {
    await page.getByRole("heading", { name: "charge.succeeded" }).waitFor();
    await main.getByText("What happened").waitFor();
    const attempts = main.getByRole("group", { name: "Attempts" }).getByRole("button");
    await attempts.nth(1).waitFor();
    await attempts.first().click();
    await main.getByText("HTTP 500").waitFor();
    await main.getByText("out of order").waitFor();
    const term = main.getByRole("term").filter({ hasText: /^content-type$/ });
    await term.waitFor();
    assert.equal(await main.getByRole("definition").first().innerText(), "application/json");
    await button("Request", main).click();
    const got = hooks.requests.find((one) => one.body.includes("ch_live"));
    await main.getByText(got.headers["k-payments-signature"]).waitFor();
    await main.getByText(got.headers["k-payments-delivery-id"]).first().waitFor();
    await button("Signature", main).click();
    await page.getByLabel(/Check it with your secret/).fill(secret);
    await main.getByText("The signature is valid").waitFor();
    await page.getByLabel(/Check it with your secret/).fill(`${secret.slice(0, 12)}AAAA${secret.slice(16)}`);
    await main.getByText("Not valid: the signature does not fit").waitFor();
    await button("curl", main).click();
    await main.getByText(`curl -i '${hooks.url}'`).waitFor();
  }],
  ["a delivery is retried, and an event is sent again", async () => {
    await page.reload();
    const attempts = main.getByRole("group", { name: "Attempts" }).getByRole("button");
    await attempts.first().waitFor();
    const before = await attempts.count();
    await button("Retry now", main).click();
    await attempts.nth(before).waitFor();
    await button("Resend", main).click();
    await button("Resend", dialog).click();
    await main.getByRole("article").nth(1).waitFor();
  }],
  ["a signature is verified by hand, and what is wrong with it is said", async () => {
    const { headers, body } = hooks.requests.at(-1);
    await link("Verify").click();
    await page.getByLabel("K-Payments-Signature").fill(headers["k-payments-signature"]);
    await page.getByLabel("Body").fill(body);
    await page.getByLabel("Signing secret").fill(secret);
    await main.getByText("The signature is valid").waitFor();
    await page.getByLabel("Body").fill(JSON.stringify(JSON.parse(body), null, 1));
    await main.getByText(/parsed and written again/).first().waitFor();
    await main.getByText("Not valid: the signature does not fit").waitFor();
    await page.getByLabel("Body").fill(`${body} `);
    await main.getByText(/without the white space at the end/).waitFor();
    await page.getByLabel("Signing secret").fill(secret.slice(6));
    await main.getByText(/begins with whsec_/).waitFor();
    await main.getByText("Not valid: this is not a signing secret").waitFor();
    await page.getByLabel("K-Payments-Signature").fill("v1=00");
    await main.getByText(/There is no t/).waitFor();
    await main.getByText("Not valid: the header cannot be read").waitFor();
    await page.getByLabel("K-Payments-Signature").fill(`t=1749651729,v1=${"0".repeat(64)}`);
    await page.getByLabel("Signing secret").fill(secret);
    await main.getByText("Not valid: the time is too far off").waitFor();
  }],
  ["an endpoint is changed, disabled and enabled, and what was held goes out", async () => {
    await link("Endpoints").first().click();
    await main.getByRole("listitem").getByRole("link").click();
    await button("Edit", main).click();
    await dialog.getByLabel("Description").fill("Orders");
    await dialog.getByLabel("Only these").check();
    await dialog.getByLabel("Charges").check();
    await button("Save", dialog).click();
    await main.getByText("charge.refunded").waitFor();
    await button("Disable", main).click();
    await button("Disable", dialog).click();
    await main.getByText("Disabled").first().waitFor();
    await publish(MERCHANT, "charge.succeeded", charge("ch_held"));
    await publish(MERCHANT, "payout.paid", { id: "po_1", object: "payout" });
    await main.getByText("On hold").nth(1).waitFor();
    await button("Enable", main).click();
    await main.getByText("Enabled").first().waitFor();
    await assertSoon(() => hooks.requests.some((one) => one.body.includes("ch_held")));
  }],
  ["a rotated secret signs beside the old one", async () => {
    await button("Rotate secret", main).click();
    await dialog.getByLabel("1 hour").check();
    await button("Rotate", dialog).click();
    const fresh = await dialog.locator("code", { hasText: "whsec_" }).innerText();
    await button("I have kept it", dialog).click();
    await button("Send test", main).click();
    await button("Send test", dialog).click();
    await page.getByRole("heading", { name: "charge.succeeded" }).waitFor();
    await main.getByText("Delivered").first().waitFor();
    const last = hooks.requests.at(-1);
    assert(signed(last, fresh) && signed(last, secret), "both sign");
    assert.notEqual(fresh, secret);
  }],
  ["what the endpoint did not list is counted, and sent by a backfill", async () => {
    await link("Endpoints").first().click();
    await main.getByRole("listitem").getByRole("link").click();
    await button("Edit", main).click();
    await dialog.getByLabel(/All events/).check();
    await button("Save", dialog).click();
    await button("Send past events", main).click();
    await button("Count first", dialog).click();
    await dialog.getByText("1 event matches").waitFor();
    await dialog.getByText("payout.paid").waitFor();
    await button("Send 1 event", dialog).click();
    await main.getByText("1 of 1 sent, 1 delivered").waitFor();
    assert(hooks.requests.some((one) => one.body.includes("po_1")));
  }],
  ["filters are in the address and stand after a reload; an id is found", async () => {
    await link("Events").first().click();
    await page.getByLabel("Type").selectOption("payout.paid");
    await main.getByText("po_1").waitFor();
    assert.match(page.url(), /\?type=payout\.paid$/);
    await page.reload();
    await main.getByText("po_1").waitFor();
    assert.equal(await main.getByText("ch_live").count(), 0);
    await page.getByLabel("Status").selectOption("abandoned");
    await main.getByText("Nothing matches").waitFor();
    await page.getByLabel("Status").selectOption("succeeded");
    await page.getByLabel("Time").selectOption("1h");
    await main.getByText("po_1").waitFor();
    assert.match(page.url(), /\?type=payout\.paid&status=succeeded&range=1h$/);
    await page.getByLabel("Time").selectOption("own");
    await page.getByLabel("To", { exact: true }).fill("2026-01-01T12:00");
    await main.getByText("Nothing matches").waitFor();
    assert.match(page.url(), /&to=2026-01-01T11%3A00Z$/, "in UTC, so that it can be shared");
    await page.reload();
    assert.equal(await page.getByLabel("To", { exact: true }).inputValue(), "2026-01-01T12:00");
    await button("Clear filters", main).first().click();
    await page.getByLabel("Endpoint").selectOption({ index: 1 });
    const delivery = main.getByText(/^dlv_/).first();
    await delivery.waitFor();
    await page.getByRole("search").getByRole("textbox").fill(await delivery.innerText());
    await page.keyboard.press("Enter");
    await page.getByText("What happened").waitFor();
    assert.match(page.url(), /\/events\/evt_.*delivery=dlv_/);
  }],
  ["the keyboard goes everywhere", async () => {
    await link("Events").first().click();
    await main.getByRole("listitem").nth(2).waitFor();
    await page.reload();
    await main.getByRole("listitem").nth(2).waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await main.getByRole("listitem").first().getByRole("link").focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.getByText("What happened").waitFor();
  }],
  ["a session for viewing offers nothing that changes something", async () => {
    const view = await watched(await browser.newContext(), wrong);
    await view.goto((await session(MERCHANT, { access: "read_only" })).url);
    await view.getByText("View only").waitFor();
    await link("Endpoints", view).first().click();
    await view.locator("main").getByRole("listitem").getByRole("link").click();
    await view.getByText("Settings").waitFor();
    assert.equal(await view.getByRole("button", { name: /Edit|Delete|Rotate|Send|Disable/ }).count(), 0);
    await view.close();
  }],
  ["a session that is revoked has ended", async () => {
    const view = await watched(await browser.newContext(), wrong, ["Failed to load resource"]);
    const opened = await session(MERCHANT);
    await view.goto(opened.url);
    await view.getByRole("heading", { level: 1 }).waitFor();
    await internal("DELETE", `/v1/portal_sessions/${opened.id}`);
    await link("Endpoints", view).first().click();
    await view.getByText("This page needs a new link").waitFor();
    await view.close();
  }],
  ["deleting says in numbers what it does", async () => {
    await link("Endpoints").first().click();
    await main.getByRole("listitem").getByRole("link").click();
    await main.getByText("Last success").waitFor();
    await button("Delete", main).click();
    await dialog.getByText(/0 open deliveries are abandoned/).waitFor();
    await dialog.getByText(/In the last day there were [1-9][0-9]* attempts/).waitFor();
    await button("Delete endpoint", dialog).click();
    await main.getByText("No endpoints yet").waitFor();
  }],
  ["who leaves has left", async () => {
    await button("Leave").click();
    await page.getByText("This page needs a new link").waitFor();
    await page.goto(`${service.public}/portal/events`);
    await page.getByText("This page needs a new link").waitFor();
  }],
]);

async function assertSoon(check) {
  const end = Date.now() + 20_000;
  while (!check()) {
    assert(Date.now() < end, `not in time: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

await browser.close();
hooks.close();
assert.deepEqual(wrong, []);
console.log("the journey is complete");
