// The page as `xlli view` serves it: every sample has its images, a feature map all its channels, and nothing is asked of another host.
import assert from "node:assert/strict";
import { inBrowsers, texts, until } from "./harness.mjs";

inBrowsers("a served study shows every sample", async ({ open }) => {
  const page = await open("served", { hash: "#/samples" });
  await page.waitForSelector(".xe-grid td.num");
  assert.ok(!(await texts(page, ".xe-name small")).includes("not on disk"));
  const rows = (await texts(page, ".xe-count"))[0];
  assert.match(rows, /^12 of 12/);
  for (const row of [0, 11]) {
    await page.evaluate((row) => (location.hash = `#/sample?row=${row}`), row);
    await until(page, (place) => document.querySelector(".xe-panel")?.textContent?.includes(`${place} of 12 in the table's order`), row + 1);
    await until(page, () => document.querySelectorAll(".xe-panel canvas").length >= 4);
  }
});
