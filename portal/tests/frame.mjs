// The portal inside of another site's page: shown by a site that may, with a cookie of that site's own, and by no other.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { internal, launch, run, service, session } from "./support.mjs";

const MERCHANT = "m_frame";
const SITE = process.env.K_WEBHOOKS_SITE;
const browser = await launch();

/** A site on this port, whose page has the portal in a frame. A real one: a browser keeps pages of none from this machine. */
async function site(port) {
  const server = createServer(async (request, response) => {
    if (request.url !== "/") return response.writeHead(404).end();
    const { url } = await session(MERCHANT);
    response.setHeader("content-type", "text/html");
    return response.end(`<!doctype html><title>Dashboard</title><iframe src="${url}" title="Webhooks" width="1200" height="800"></iframe>`);
  });
  await new Promise((resolve) => server.listen(port, "localhost", resolve));
  return server;
}

async function open() {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(30_000);
  return page;
}

const [own, other] = [await site(new URL(SITE).port), await site(0)];

await run([
  ["a site that may show the portal shows it, and what it can do works there", async () => {
    const page = await open();
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
    const page = await open();
    const refused = page.waitForEvent("console", (message) => message.text().includes("frame-ancestors"));
    await page.goto(`http://localhost:${other.address().port}/`);
    await refused;
    const [newest] = (await internal("GET", `/v1/portal_sessions?merchant_id=${MERCHANT}`)).data;
    assert.equal(newest.opened, null, "nor was its link opened");
    await page.context().close();
  }],
]);

await browser.close();
[own, other].forEach((server) => server.closeAllConnections() ?? server.close());
console.log("the frame is as it should be");
