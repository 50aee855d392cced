// The table of samples: sorted, filtered, linked, by keyboard, at 390 px.
import assert from "node:assert/strict";
import { inBrowsers, texts, until } from "./harness.mjs";

const numbers = async (page, column) =>
  (await texts(page, `.xe-grid tbody tr:not([aria-hidden]) td:nth-child(${column})`)).map((text) => Number(text.replace("−", "-")));

inBrowsers("a click on a column sorts by it, another one turns the order", async ({ open }) => {
  const page = await open("toy");
  await page.waitForSelector(".xe-grid td.num");
  await page.click(".xe-grid th:nth-child(3) button");
  await page.waitForSelector('th[aria-sort="descending"]');
  const falling = await numbers(page, 3);
  assert.deepEqual(falling, falling.toSorted((a, b) => b - a));
  assert.ok(falling[0] > falling.at(-1));
  await page.click(".xe-grid th:nth-child(3) button");
  await page.waitForSelector('th[aria-sort="ascending"]');
  const rising = await numbers(page, 3);
  assert.deepEqual(rising, rising.toSorted((a, b) => a - b));
});

inBrowsers("a link opens exactly this view, and the address follows what is done", async ({ open }) => {
  const page = await open("toy", { hash: "#/samples?labels=blur2&sort=restore/psnr_y@net1&dir=asc" });
  await until(page, () => document.querySelector(".xe-count")?.textContent?.startsWith("6 of 12"));
  assert.deepEqual([...new Set(await texts(page, ".xe-grid tbody tr:not([aria-hidden]) td:nth-child(2)"))], ["blur2"]);
  const shown = await numbers(page, 4);
  assert.deepEqual(shown, shown.toSorted((a, b) => a - b));
  await page.click('[aria-label="Degradations"] button:nth-child(1)');
  await until(page, () => document.querySelector(".xe-count")?.textContent?.startsWith("12 of 12"));
  const hash = await page.evaluate(() => location.hash);
  assert.ok(new URLSearchParams(hash.split("?")[1]).get("labels") === "blur2,clean", hash);
});

inBrowsers("a difference of two networks is a column, the largest first", async ({ open }) => {
  const page = await open("toy");
  await page.waitForSelector(".xe-difference select");
  await page.select(".xe-difference label:nth-child(1) select", "net2");
  await page.select(".xe-difference label:nth-child(2) select", "net0");
  await until(page, () => [...document.querySelectorAll(".xe-grid th")].some((one) => one.textContent?.includes("net2 − net0")));
  const place = (await texts(page, ".xe-grid th")).findIndex((text) => text.includes("net2 − net0")) + 1;
  assert.ok((await texts(page, `.xe-grid tbody td:nth-child(${place})`)).every((text) => text === "+0.2000"));
});

inBrowsers("limits on numbers and words narrow the table", async ({ open }) => {
  const page = await open("toy", { hash: "#/samples?where=" + encodeURIComponent("restore/psnr_y@net0≥32") });
  await until(page, () => /^\d+ of 12/.test(document.querySelector(".xe-count")?.textContent ?? "") && !document.querySelector(".xe-count")?.textContent?.startsWith("12"));
  assert.ok((await numbers(page, 3)).every((value) => value >= 32));
  await page.click(".xe-chip");
  await until(page, () => document.querySelector(".xe-count")?.textContent?.startsWith("12 of 12"));
  await page.type('input[type="search"]', "p03");
  await until(page, () => document.querySelector(".xe-count")?.textContent?.startsWith("2 of 12"));
});

inBrowsers("the keyboard moves through the table and opens a sample", async ({ open }) => {
  const page = await open("toy");
  await page.waitForSelector(".xe-grid td.num");
  await page.focus(".xe-grid");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await until(page, () => document.querySelector("tr.xe-active")?.getAttribute("aria-rowindex") === "4");
  await page.keyboard.press("Enter");
  await until(page, () => location.hash === "#/sample?row=2");
  await page.evaluate(() => history.back());
  await until(page, () => location.hash !== "#/sample?row=2");
  await page.waitForSelector(".xe-grid");
});

inBrowsers("thumbnails show each sample, and the page fits 390 px", async ({ open }) => {
  const page = await open("toy", { width: 390, height: 800 });
  await page.waitForSelector(".xe-thumb");
  await until(page, () => getComputedStyle(document.querySelector(".xe-thumb")).backgroundImage.startsWith('url("data:image/webp'));
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the screen");
});

inBrowsers("the rows that are shown are saved with all their columns", async ({ open }) => {
  const page = await open("toy", { hash: "#/samples?labels=blur2&sort=restore/psnr_y@net1&dir=asc" });
  await until(page, () => document.querySelector(".xe-count")?.textContent?.startsWith("6 of 12"));
  await page.evaluate(() => {
    URL.createObjectURL = (blob) => (void blob.text().then((text) => (window.saved = text)), "#saved");
  });
  await page.click(".xe-count button:last-child");
  await until(page, () => window.saved);
  const [head, ...lines] = (await page.evaluate(() => window.saved)).trim().split("\r\n").map((line) => line.split(","));
  assert.ok(["sample_id", "sample/label", "restore/psnr_y@net0", "restore/ssim_y@net2"].every((name) => head.includes(name)), head.join());
  assert.equal(lines.length, 6);
  const scores = lines.map((line) => Number(line[head.indexOf("restore/psnr_y@net1")]));
  assert.deepEqual(scores, scores.toSorted((a, b) => a - b));
});

inBrowsers("without scripts the page is what it was", async ({ open }) => {
  const page = await open("toy", { scripts: false });
  assert.equal(await page.$(".xe"), null);
  assert.ok((await page.content()).includes('id="stage-restore"'));
}, ["chrome"]);
