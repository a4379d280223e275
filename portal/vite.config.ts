// Builds the two pages into dist/, which is committed and compiled into the service: `cargo build` needs no Node.

import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

// Beside each file the same compressed, so that the service compresses nothing.
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      for (const file of Object.values(bundle)) {
        const bytes = Buffer.from(file.type === "chunk" ? file.code : file.source);
        const best = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
        this.emitFile({ type: "asset", fileName: `${file.fileName}.br`, source: brotliCompressSync(bytes, best) });
        this.emitFile({ type: "asset", fileName: `${file.fileName}.gz`, source: gzipSync(bytes, { level: 9 }) });
      }
    },
  };
}

export default defineConfig({
  base: "/portal/",
  // Each page has its files below its own path, so that nothing of the console is asked of the public listener.
  experimental: {
    renderBuiltUrl: (filename, { hostId, hostType }) =>
      hostType === "html" ? `/${hostId === "console.html" ? "console" : "portal"}/${filename}` : { relative: true },
  },
  plugins: [svelte(), compressed()],
  build: {
    target: "es2022",
    // Its polyfill would be the only script that has to run before the others.
    modulePreload: { polyfill: false },
    // The content security policy allows no data in place of a file but for images.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rollupOptions: {
      input: { portal: "index.html", console: "console.html" },
      output: { chunkFileNames: "assets/shared-[hash].js" },
    },
  },
});
