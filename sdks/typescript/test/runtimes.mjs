// The built package in each runtime: Node as ES modules and as CommonJS, Deno, and an edge runtime, which has the
// globals of the web and none of Node's. Writes a line for each into the report of `make sdks`.
import { execFileSync } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { EdgeVM } from "@edge-runtime/vm";
import { conformance } from "./conformance.mjs";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const vectors = JSON.parse(readFileSync(file("../../vectors.json"), "utf8"));
const require = createRequire(import.meta.url);

function report(runtime, { cases, signing, failures }) {
  if (failures.length > 0 || cases !== vectors.cases.length || signing !== vectors.signing.length) {
    throw new Error(`${runtime}: ${failures.join("\n")}`);
  }
  const line = `TypeScript|${runtime}|${cases}|${signing}`;
  if (process.env.K_WEBHOOKS_VECTORS_REPORT) appendFileSync(process.env.K_WEBHOOKS_VECTORS_REPORT, `${line}\n`);
  console.log(line);
}

function deno() {
  const program = `
    import * as library from ${JSON.stringify(new URL("../dist/esm/index.js", import.meta.url).href)};
    import { conformance } from ${JSON.stringify(new URL("./conformance.mjs", import.meta.url).href)};
    import vectors from ${JSON.stringify(new URL("../../vectors.json", import.meta.url).href)} with { type: "json" };
    console.log(JSON.stringify({ version: Deno.version.deno, ...(await conformance(library, vectors)) }));`;
  const path = require.resolve("deno/package.json").replace(/package\.json$/, "bin.cjs");
  // Without permissions: the library reads no file and no environment.
  const output = execFileSync(process.execPath, [path, "run", "--no-config", "--no-lock", "--no-npm", "-"], {
    input: program,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", PATH: process.env.PATH, HOME: process.env.HOME },
  });
  return JSON.parse(output.toString());
}

async function edge() {
  const vm = new EdgeVM();
  // Scripts, not modules, are what it evaluates: the CommonJS build, with a loader of five lines.
  const load = (name) => `(() => { const exports = {}; const module = { exports };
    modules[${JSON.stringify(name)}] = exports;
    ${readFileSync(file(`../dist/cjs/${name}.js`), "utf8")} })();`;
  vm.evaluate(`const modules = {}; const require = (path) => modules[path.slice(2, -3)];
    ${["event", "signature", "deduplication", "index"].map(load).join("\n")}
    ${readFileSync(file("./conformance.mjs"), "utf8").replace("export ", "")}`);
  const text = JSON.stringify(JSON.stringify(vectors));
  return JSON.parse(await vm.evaluate(`conformance(modules.index, JSON.parse(${text})).then(JSON.stringify)`));
}

report(`Node ${process.versions.node}, ES modules`, await conformance(await import("@k-payments/webhooks"), vectors));
report(`Node ${process.versions.node}, CommonJS`, await conformance(require("@k-payments/webhooks"), vectors));
const { version, ...result } = deno();
report(`Deno ${version}`, result);
report(`edge runtime ${require("@edge-runtime/vm/package.json").version}`, await edge());
