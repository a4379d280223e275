// Builds the package twice from one source: as ES modules and as CommonJS.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";

rmSync("dist", { recursive: true, force: true });
for (const [project, type] of [["tsconfig.json", "module"], ["tsconfig.cjs.json", "commonjs"]]) {
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", project], { stdio: "inherit" });
  writeFileSync(`dist/${type === "module" ? "esm" : "cjs"}/package.json`, `${JSON.stringify({ type })}\n`);
}
