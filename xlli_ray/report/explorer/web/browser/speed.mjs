// `node browser/speed.mjs URL ROUNDS`: first paint, table shown, a sort by a click, in milliseconds; called by tests/benchmarks/explorer.py.
import puppeteer from "puppeteer-core";

const [url, rounds = "5"] = process.argv.slice(2);
const browser = await puppeteer.launch({ browser: "chrome", executablePath: process.env.XLLI_CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ["--no-sandbox"] });
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const times = { first_paint: [], table: [], sort: [], filter: [] };
for (let round = 0; round < Number(rounds); round++) {
  const page = await browser.newPage();
  await page.goto(url);
  await page.waitForSelector(".xe-grid td.num");
  times.table.push(await page.evaluate(() => performance.now()));
  times.first_paint.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN));
  const act = (selector, done) =>
    page.evaluate(
      (selector, done) =>
        new Promise((resolve) => {
          const begun = performance.now();
          document.querySelector(selector).click();
          const look = () => (document.querySelector(done) ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun))) : setTimeout(look));
          look();
        }),
      selector, done,
    );
  const order = () => page.$eval(".xe-grid tbody tr:not([aria-hidden])", (row) => row.textContent);
  await act(".xe-grid th:nth-child(3) button", 'th[aria-sort="descending"]');
  await new Promise((resolve) => setTimeout(resolve, 300));
  const before = await order();
  times.sort.push(
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          const row = () => document.querySelector(".xe-grid tbody tr:not([aria-hidden])").textContent;
          const before = row();
          const begun = performance.now();
          document.querySelector(".xe-grid th:nth-child(3) button").click();
          const look = () => (row() !== before ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begun))) : setTimeout(look));
          look();
        }),
    ),
  );
  if ((await order()) === before) throw new Error("the order did not change");
  await page.close();
}
await browser.close();
for (const [what, values] of Object.entries(times)) if (values.length) console.log(JSON.stringify({ measured: what, median_ms: Math.round(median(values)), all_ms: values.map(Math.round) }));
