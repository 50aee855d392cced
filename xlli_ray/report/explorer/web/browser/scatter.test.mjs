// The scatter: brush by mouse and by numbers, to the table, point to sample, the address, saved points, an embedding.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { inBrowsers, texts, until } from "./harness.mjs";
import { keepSaved, saved } from "./saved.mjs";

const query = async (page) => new URLSearchParams((await page.evaluate(() => location.hash)).split("?")[1]);
const ready = (page) => page.waitForSelector(".xe-plot canvas");

/** Where the plot is, after it was brought into view. */
const frame = (page) =>
  page.$eval(".xe-plot", (one) => {
    one.scrollIntoView({ block: "center" });
    const { x, y, width, height } = one.getBoundingClientRect();
    return { x, y, width, height };
  });

/** Whether more than `least` pixels of the canvas are painted. A copy is read, since reading the canvas itself again and again is slow. */
const painted = (page, least) =>
  until(
    page,
    (least) => {
      const canvas = document.querySelector(".xe-plot canvas");
      const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
      const context = copy.getContext("2d", { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      return context.getImageData(0, 0, copy.width, copy.height).data.filter((value, i) => i % 4 === 3 && value).length > least;
    },
    least,
  );

/** A part of the study, as it lies beside the page. */
const part = async (page, name) => {
  const text = readFileSync(new URL(`data/${name}.js`, await page.url()), "utf8");
  return JSON.parse(text.slice(text.indexOf(",") + 1, text.lastIndexOf(")")));
};

inBrowsers("a rectangle drawn with the mouse chooses samples, which the table then shows", async ({ open }) => {
  const page = await open("toy", { hash: "#/scatter" });
  await ready(page);
  assert.match((await texts(page, ".xe-scatter .xe-quiet")).join(" "), /12 points/);
  await painted(page, 12 * 20);
  const { x, y, width, height } = await frame(page);
  await page.mouse.move(x + 5, y + 5);
  await page.mouse.down();
  await page.mouse.move(x + width / 2, y + height / 2, { steps: 3 });
  await page.mouse.move(x + width - 5, y + height - 5, { steps: 3 });
  await page.mouse.up();
  await until(page, () => document.querySelector(".xe-brushed b")?.textContent === "12 samples brushed");
  assert.equal(await page.$$eval(".xe-strip .xe-face", (found) => found.length), 12);
  const [x0, x1, y0, y1] = (await query(page)).get("brush").split(",").map(Number);
  assert.ok(x0 < x1 && y0 < y1);
  // half of it, by numbers
  await page.$eval(
    ".xe-ends label:nth-child(2) input",
    (input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    },
    String((x0 + x1) / 2),
  );
  await page.click(".xe-ends button");
  await until(
    page,
    () =>
      /^[1-9]\d* samples? brushed$/.test(document.querySelector(".xe-brushed b")?.textContent ?? "") &&
      !document.querySelector(".xe-brushed b").textContent.startsWith("12"),
  );
  const count = parseInt((await texts(page, ".xe-brushed b"))[0]);
  await page.click(".xe-brushed a");
  await until(page, (n) => document.querySelector(".xe-count")?.textContent?.startsWith(`${n} of 12`), count);
  // back in the scatter the brush is still there
  await page.click('.xe-tabs a[href="#/scatter"]');
  await until(page, (n) => document.querySelector(".xe-brushed b")?.textContent?.startsWith(String(n)), count);
});

inBrowsers("a link opens exactly this plot, and says where points of both networks are equal", async ({ open }) => {
  const page = await open("toy", { hash: "#/scatter?x=restore/psnr_y@net1&y=restore/psnr_y@net2&colour=none&brush=0,100,0,100" });
  await until(page, () => document.querySelector(".xe-brushed b")?.textContent === "12 samples brushed");
  assert.deepEqual(await page.$$eval(".xe-scatter select", (found) => found.map((one) => one.value)), [
    "restore/psnr_y",
    "net1",
    "",
    "restore/psnr_y",
    "net2",
    "",
    "none",
  ]);
  assert.ok(await page.$('.xe-plot line[stroke-dasharray="4 4"]'));
  await page.select('[aria-label="y axis"] label:nth-child(3) select', "net1");
  await until(page, () => new URLSearchParams(location.hash.split("?")[1]).get("y") === "restore/psnr_y@net2−net1");
  await until(page, () => !document.querySelector('.xe-plot line[stroke-dasharray="4 4"]'));
});

inBrowsers("the value of a point is that of the data, and a click opens its sample", async ({ open }) => {
  const page = await open("toy", { hash: "#/scatter" });
  await ready(page);
  await page.focus(".xe-plot");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector(".xe-tip");
  const { cx, cy } = await page.$eval(".xe-plot svg:last-of-type circle", (one) => ({
    cx: Number(one.getAttribute("cx")),
    cy: Number(one.getAttribute("cy")),
  }));
  const told = (await texts(page, ".xe-tip"))[0];
  const [, x, y] = /psnr_y · net0, dB: ([\d.]+)psnr_y · net1, dB: ([\d.]+)/.exec(told);
  const column = await part(page, `column-${(await part(page, "study")).columns.findIndex((one) => one.id === "restore/psnr_y")}`);
  const bytes = Buffer.from(column.f4, "base64");
  const numbers = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
  const place = numbers
    .slice(0, 12)
    .findIndex((value, i) => Math.abs(value - Number(x)) < 1e-3 && Math.abs(numbers[12 + i] - Number(y)) < 1e-3);
  assert.ok(place >= 0, `${told} is a sample of the data`);
  const { x: left, y: top } = await frame(page);
  await page.mouse.click(left + cx, top + cy);
  await until(page, () => /^#\/sample\?row=\d+$/.test(location.hash));
  assert.equal(Math.min(...numbers.slice(0, 12)), numbers[place], "the arrow began on the left");
});

inBrowsers("a point for each sample and network, switched off by the legend; thumbnails in their place", async ({ open }) => {
  const page = await open("toy", { hash: "#/scatter?colour=network" });
  await until(page, () => document.querySelector(".xe-scatter")?.textContent?.includes("36 points"));
  await page.click('.xe-scatter [aria-label^="Legend"] button:nth-child(2)');
  await until(page, () => document.querySelector(".xe-scatter")?.textContent?.includes("24 points"));
  assert.equal((await query(page)).get("off"), "net1");
  await page.evaluate(() => [...document.querySelectorAll("button")].find((one) => one.textContent === "Thumbnails").click());
  await until(page, () => new URLSearchParams(location.hash.split("?")[1]).get("faces") === "1");
  await painted(page, 34 * 34 * 4); // points are a tenth of that
});

inBrowsers("the points are saved as CSV, the plot as SVG and PNG", async ({ open }) => {
  const page = await open("toy", { hash: "#/scatter" });
  await ready(page);
  await keepSaved(page);
  const { name, text } = await saved(page, "CSV");
  const lines = text.split("\r\n");
  assert.match(name, /_scatter\.csv$/);
  assert.equal(lines[0], 'row,sample_id,name,"psnr_y · net0, dB","psnr_y · net1, dB",degradation');
  assert.equal(lines.length, 1 + 12 + 1);
  assert.match(lines[1], /^0,[^,]+,.*,[\d.]+,[\d.]+,clean$/);
  const svg = await saved(page, "SVG");
  assert.ok(svg.text.includes("psnr_y · net0, dB") && svg.text.includes("data:image/png;base64,") && svg.text.includes("blur2"));
  const png = await saved(page, "PNG");
  assert.deepEqual(
    [...png.bytes.slice(1, 4)],
    [..."PNG"].map((sign) => sign.charCodeAt(0)),
  );
});

inBrowsers("an embedding is a scatter too, its groups in their colours", async ({ open }) => {
  const page = await open("figures", { hash: "#/figures?figure=figure-toy-embedding" });
  await page.waitForSelector(".xe-chart circle");
  await page.evaluate(() => [...document.querySelectorAll("button")].find((one) => one.textContent === "explore its points").click());
  await ready(page);
  assert.equal((await query(page)).get("cloud"), "figure-toy-embedding:0");
  await until(page, () => document.querySelector(".xe-scatter")?.textContent?.includes("12 points"));
  assert.deepEqual(await texts(page, '.xe-scatter [aria-label^="Legend"] button'), ["clean", "blur2"]);
});

inBrowsers("390 px hold the plot", async ({ open }) => {
  const page = await open("toy", { hash: "#/scatter?brush=0,100,0,100", width: 390, height: 800 });
  await ready(page);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await page.focus(".xe-plot");
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("ArrowRight");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "what a point says is within the screen");
  }
});
