// axe-core finds nothing serious on the page, in light and dark, in any view.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { inBrowsers } from "./harness.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const serious = async (page) => {
  await page.evaluate(`${AXE}; void 0`);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"], preload: false }));
  return found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
};

for (const hash of ["#/samples", "#/sample?row=1", "#/scatter", "#/figures"]) {
  inBrowsers(`axe-core finds nothing serious at ${hash}`, async ({ open }) => {
    for (const [name, dark] of [["toy", false], ["lam", true]]) {
      const page = await open(name, { hash, dark });
      await page.waitForSelector(".xe-panel > *");
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.deepEqual(await serious(page), [], `${name}${dark ? ", dark" : ""}`);
    }
  }, ["chrome"]);
}
