// A study from a stranger: its names, labels, ids and reasons are text in every view (see `hostile` in tests/report/test_explorer_program.py).
import assert from "node:assert/strict";
import { inBrowsers, until } from "./harness.mjs";

for (const hash of ["#/samples", "#/sample?row=1", "#/scatter", "#/figures", "#/samples?labels=%3Cscript%3E&q=%3Cimg%20src%3Dx%3E&sort=__proto__&measure=constructor"]) {
  inBrowsers(`names of strangers are text at ${hash.slice(0, 24)}`, async ({ open }) => {
    const page = await open("evil", { hash, width: 1000 });
    await page.waitForSelector(".xe-panel > *");
    await new Promise((resolve) => setTimeout(resolve, 400));
    assert.equal(await page.evaluate(() => window.broken ?? null), null, "nothing of it ran");
    assert.equal(await page.$$eval(".xe script, .xe iframe, .xe [onerror], .xe object", (found) => found.length), 0);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth + 1), "5,000 characters do not widen the page");
    if (hash === "#/samples") await until(page, () => document.querySelector(".xe-panel").textContent.includes("<script>window.broken=1</script>"));
  });
}
