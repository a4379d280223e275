// What an operator does in the console, in a real browser on the real service: lets himself in by a key, finds an endpoint that
// fails, looks at its deliveries, holds and releases it, and leaves.

import assert from "node:assert/strict";
import { internal, launch, publish, receiver, register, run, service, watched } from "./support.mjs";

const MERCHANT = "m_shift";
const hooks = await receiver();
const browser = await launch();
const wrong = [];
const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1280, height: 900 } });
// A refused call is logged by the browser itself.
const page = await watched(context, wrong, ["Failed to load resource"], service.internal);
const main = page.locator("main");
const dialog = page.getByRole("dialog");
const button = (name, within = page) => within.getByRole("button", { name, exact: true });
const link = (name, within = page) => within.getByRole("link", { name });
const named = (name) => main.getByRole("button", { name });
const rows = main.locator("table");
const heading = (name) => page.getByRole("heading", { level: 1, name });

let endpoint;
let event;

await run([
  ["a merchant's endpoint begins to fail", async () => {
    hooks.status = 503;
    endpoint = await register(MERCHANT, { url: hooks.url });
    event = await publish(MERCHANT, "charge.succeeded", { id: "ch_1", object: "charge", amount: 4999, currency: "eur" });
  }],
  ["a wrong key is refused, the right one opens the console and is kept nowhere", async () => {
    await page.goto(`${service.internal}/console`);
    await heading("Open the console").waitFor();
    await page.getByLabel("Service key").fill("svc_wrong");
    await button("Open").click();
    await page.getByText("The API key is not valid.").waitFor();
    await page.getByLabel("Service key").fill(service.key);
    await page.keyboard.press("Enter");
    await heading("Overview").waitFor();
    const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
    assert.deepEqual(kept, [0, 0, ""]);
    assert.equal(page.url(), `${service.internal}/console`);
    await page.reload();
    await heading("Overview").waitFor();
  }],
  ["what fails is on the first page, and leads to the endpoint", async () => {
    await main.getByText("The endpoint answered 503").waitFor();
    await main.getByText("Alive").waitFor();
    await link(new URL(hooks.url).host, main).first().click();
    await main.getByText("Failing since").waitFor();
    assert.equal(page.url(), `${service.internal}/console/endpoints/${endpoint.id}`);
  }],
  ["an id leads to the event, its delivery, and each attempt", async () => {
    await link("Find").click();
    await page.getByLabel("An id").fill("evt_nowhere");
    await page.keyboard.press("Enter");
    await main.getByText("No such object: evt_nowhere").waitFor();
    await page.getByLabel("An id").fill(event.id);
    await page.keyboard.press("Enter");
    await heading("charge.succeeded").waitFor();
    await main.getByText(/Attempt 1 .* failed/).waitFor();
    assert.equal(await main.getByText("4999").count(), 0, "the event's data is its merchant's");
    await link(endpoint.id, main).first().click();
    await main.getByText("What it answered").first().click();
    await main.getByText("out of order").first().waitFor();
  }],
  ["the endpoint is held for a reason, and released", async () => {
    await link(endpoint.id, main).click();
    await named(/^Hold /).click();
    await dialog.getByLabel("Why").fill("Its merchant asked for it");
    await button("Hold", dialog).click();
    await main.getByText("Held by the operator").waitFor();
    await main.getByText("Its merchant asked for it").waitFor();
    hooks.status = 200;
    await named(/^Release /).click();
    await button("Release", dialog).click();
    await main.getByText("Enabled", { exact: true }).waitFor();
    await main.getByText("Delivered", { exact: true }).nth(1).waitFor();
  }],
  ["the merchant's portal opens, to look only", async () => {
    await button("Open portal", main).click();
    await button("Open portal", dialog).click();
    const address = await link("Open it in a new tab", dialog).getAttribute("href");
    assert(address.startsWith(`${service.public}/portal#`), address);
    const portal = await (await browser.newContext()).newPage();
    await portal.goto(address);
    await portal.getByText("View only").waitFor();
    await portal.close();
    await page.keyboard.press("Escape");
  }],
  ["a key is revoked, and whoever has it is refused", async () => {
    const key = await internal("POST", `/v1/merchants/${MERCHANT}/api_keys`, { livemode: false });
    await link("Keys").click();
    await button(`Revoke ${key.id}`, main).click();
    await button("Revoke", dialog).click();
    await button(`Revoke ${key.id}`, main).waitFor({ state: "detached" });
    const response = await fetch(`${service.public}/v1/events`, { headers: { authorization: `Bearer ${key.secret_key}` } });
    assert.equal(response.status, 401);
  }],
  ["all of it is in the audit log", async () => {
    await link("Audit log").click();
    for (const what of ["Key revoked", "Endpoint disabled", "Endpoint changed", "Portal session made", "Console opened"]) {
      await rows.getByText(what, { exact: true }).first().waitFor();
    }
    await page.getByLabel("Object").fill(endpoint.id);
    await button("Filter").click();
    await rows.getByText("Key revoked", { exact: true }).first().waitFor({ state: "detached" });
    await rows.getByText("Endpoint registered", { exact: true }).waitFor();
    assert.equal(new URL(page.url()).searchParams.get("object_id"), endpoint.id);
  }],
  ["whoever leaves is out, and the page says so", async () => {
    await button("Leave").click();
    await heading("Open the console").waitFor();
    await page.goto(`${service.internal}/console/keys`);
    await heading("Open the console").waitFor();
  }],
]);

await browser.close();
hooks.close();
assert.deepEqual(wrong, []);
console.log("the shift is over");
