// The portal inside of another site's page: shown by a site that may, with a cookie of that site's own, and by no other.

import assert from "node:assert/strict";
import { internal, launch, run, service, session } from "./support.mjs";

const MERCHANT = "m_frame";
const [SITE, OTHER] = [process.env.K_WEBHOOKS_SITE, "http://localhost:3998"];
const browser = await launch();

/** A page of a site with the portal in a frame. */
async function framed(site) {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(30_000);
  const { url } = await session(MERCHANT);
  const body = `<!doctype html><title>Dashboard</title><iframe src="${url}" title="Webhooks" width="1200" height="800"></iframe>`;
  await page.route(`${site}/`, (route) => route.fulfill({ contentType: "text/html", body }));
  return page;
}

await run([
  ["a site that may show the portal shows it, and what it can do works there", async () => {
    const page = await framed(SITE);
    await page.goto(`${SITE}/`);
    const portal = page.frameLocator("iframe");
    await portal.getByRole("link", { name: "Get started" }).click();
    await portal.getByLabel("URL").fill("http://127.0.0.1:9999/hooks");
    await portal.getByRole("button", { name: "Add endpoint" }).click();
    await portal.getByText("whsec_").waitFor();
    const [cookie, ...others] = await page.context().cookies(service.public);
    assert.deepEqual(others, []);
    const { httpOnly, secure, sameSite, partitionKey } = cookie;
    assert.deepEqual([httpOnly, secure, sameSite], [true, true, "None"]);
    assert(partitionKey?.includes("localhost"), `a cookie of that site's own: ${partitionKey}`);
    await page.context().close();
  }],
  ["no other site can", async () => {
    const page = await framed(OTHER);
    const refused = page.waitForEvent("console", (message) => message.text().includes("frame-ancestors"));
    await page.goto(`${OTHER}/`);
    await refused;
    const [newest] = (await internal("GET", `/v1/portal_sessions?merchant_id=${MERCHANT}`)).data;
    assert.equal(newest.opened, null, "nor was its link opened");
    await page.context().close();
  }],
]);

await browser.close();
console.log("the frame is as it should be");
