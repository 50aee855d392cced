// Bundles the explorer: `node build.mjs` writes ../bundle/{explorer.js,explorer.css,LICENSES.txt}, which are committed and shipped in the
// wheel, so that installing the Python package needs no node. `--tests` bundles the unit tests into build/test instead.
import { build } from "esbuild";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const bundle = process.argv.slice(2).find((one) => !one.startsWith("--")) ?? join(here, "..", "bundle");
const common = { absWorkingDir: here, bundle: true, jsx: "automatic", jsxImportSource: "preact", charset: "utf8", logLevel: "warning", metafile: true };

if (process.argv.includes("--tests")) {
  const tests = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts") || name.endsWith(".test.tsx"));
  await build({ ...common, entryPoints: tests.map((name) => join("test", name)), outdir: "build/test", format: "esm", platform: "node" });
} else {
  const made = await build({
    ...common, entryPoints: { explorer: "src/main.tsx" }, outdir: bundle, format: "iife", minify: true, target: ["es2022"],
    legalComments: "none", loader: { ".css": "css" },
  });
  await build({ ...common, entryPoints: { widget: "src/widget.tsx" }, outdir: bundle, format: "esm", minify: true, target: ["es2022"], legalComments: "none" });
  writeFileSync(join(bundle, "LICENSES.txt"), licences(Object.keys(made.metafile.inputs)));
}

/** The licences of the packages that are in the bundle. */
function licences(inputs) {
  const names = new Set();
  for (const input of inputs) {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) names.add(match[1]);
  }
  const parts = [...names].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} ${about.version}: no licence file; add its text here`);
    return `${name} ${about.version} (${about.license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  return `explorer.js and widget.js contain the following packages.\n\n${parts.join("\n" + "-".repeat(80) + "\n\n")}`;
}
