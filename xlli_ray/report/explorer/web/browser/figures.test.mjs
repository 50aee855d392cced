// The study's figures: values where one points, lines switched off, files saved, every kind, 390 px, dark mode.
import assert from "node:assert/strict";
import { inBrowsers, texts, until } from "./harness.mjs";
import { keepSaved, saved } from "./saved.mjs";

const KINDS = ["curves", "dots", "scatter", "heat", "histograms", "matrices", "strips", "embedding"];
const at = (kind) => `#/figures?figure=figure-toy-${kind}`;

inBrowsers("every kind is drawn, with its numbers", async ({ open }) => {
  const page = await open("figures", { hash: "#/figures" });
  for (const kind of KINDS) {
    await page.evaluate((hash) => (location.hash = hash), at(kind));
    await until(
      page,
      (title) => document.querySelector(".xe-figure h3")?.textContent === title && document.querySelector(".xe-chart svg"),
      kind,
    );
    assert.ok((await page.$$eval(".xe-chart svg path, .xe-chart svg rect, .xe-chart svg circle", (found) => found.length)) > 2, kind);
    assert.deepEqual(
      await page.$$eval(".xe-chart svg *", (found) =>
        found.filter((one) => [...one.attributes].some((a) => /NaN|Infinity|undefined/.test(a.value))).map((one) => one.outerHTML),
      ),
      [],
      kind,
    );
  }
});

inBrowsers("the value under the pointer is that of the data", async ({ open }) => {
  const page = await open("figures", { hash: at("curves") });
  await page.waitForSelector(".xe-chart svg path[transform]");
  const place = await page.$eval(".xe-chart svg path[transform]", (one) => {
    const { width, height } = one.getBoundingClientRect();
    one.scrollIntoView({ block: "center" });
    const moved = one.getBoundingClientRect();
    return { x: moved.x + width / 2, y: moved.y + height / 2 };
  });
  await page.mouse.move(place.x, place.y);
  await page.waitForSelector(".xe-tip");
  assert.match((await texts(page, ".xe-tip"))[0], /^netσ: 1SRGA: 3\.25 \(2\.5 to 4\)$/);
});

inBrowsers("the keyboard reads the values one after another", async ({ open }) => {
  const page = await open("figures", { hash: at("dots") });
  await page.waitForSelector(".xe-chart");
  await page.focus(".xe-chart");
  await page.keyboard.press("ArrowRight");
  await until(page, () => document.querySelector(".xe-tip")?.textContent?.includes("dB: 30 (29 to 31)"));
  await page.keyboard.press("ArrowRight");
  await until(page, () => document.querySelector(".xe-tip")?.textContent?.includes("31.5, no interval: too few"));
  await page.keyboard.press("Escape");
  await until(page, () => !document.querySelector(".xe-tip"));
});

inBrowsers("the legend switches a curve off and on, the address keeps it", async ({ open }) => {
  const page = await open("figures", { hash: at("curves") });
  const curves = (colour) => page.$$eval(`.xe-chart path[stroke="${colour}"]`, (found) => found.length);
  await page.waitForSelector(".xe-toggle");
  const faint = () => page.$$eval(".xe-swatch", (found) => found.map((one) => getComputedStyle(one).opacity !== "1"));
  assert.deepEqual(await faint(), [false, false]);
  assert.ok((await curves("#0072B2")) > 0);
  await page.click(".xe-figure .xe-toggle:nth-child(1)");
  await until(page, () => document.querySelector(".xe-figure .xe-toggle")?.getAttribute("aria-pressed") === "false");
  assert.equal(await curves("#0072B2"), 0);
  assert.deepEqual(await faint(), [true, false], "what is off is faint, nothing else");
  assert.ok((await curves("#D55E00")) > 0);
  assert.equal(new URLSearchParams((await page.evaluate(() => location.hash)).split("?")[1]).get("hide"), "net");
  await page.click(".xe-figure .xe-toggle:nth-child(1)");
  await until(page, () => document.querySelector('.xe-chart path[stroke="#0072B2"]'));
});

inBrowsers("a figure is saved as SVG, PNG and CSV", async ({ open }) => {
  const page = await open("figures", { hash: at("curves") });
  await page.waitForSelector(".xe-chart svg");
  await keepSaved(page);
  const svg = await saved(page, "SVG");
  assert.match(svg.name, /_curves\.svg$/);
  const parsed = await page.evaluate((text) => {
    const made = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    return {
      name: made.nodeName,
      words: made.textContent,
      broken: made.querySelector("parsererror") !== null,
      width: Number(made.getAttribute("width")),
    };
  }, svg.text);
  assert.equal(parsed.name, "svg");
  assert.ok(!parsed.broken && parsed.words.includes("SRGA") && parsed.words.includes("net") && parsed.words.includes("other"));
  const png = await saved(page, "PNG");
  assert.deepEqual([...png.bytes.slice(0, 8)], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  assert.equal(Buffer.from(png.bytes).readUInt32BE(16), 2 * parsed.width, "two pixels for each");
  const lines = (await saved(page, "CSV")).text.split("\r\n");
  assert.equal(lines[0], "panel,curve,x axis,x,y axis,y,low,high,expected,hollow");
  assert.equal(lines[1], "level,net,σ,1,SRGA,3.25,2.5,4,,true");
  assert.equal(lines[2], "level,net,σ,2,SRGA,,,,,false");
  assert.equal(lines.length, 1 + 3 + 3 + 3 + 1);
});

inBrowsers("at 390 px one panel is below the other, and no text is too small", async ({ open }) => {
  const page = await open("figures", { hash: at("curves"), width: 390, height: 800 });
  for (const kind of KINDS) {
    await page.evaluate((hash) => (location.hash = hash), at(kind));
    await until(
      page,
      (title) => document.querySelector(".xe-figure h3")?.textContent === title && document.querySelector(".xe-chart svg"),
      kind,
    );
    const sizes = await page.$$eval(".xe-chart svg text", (found) => found.map((one) => parseFloat(getComputedStyle(one).fontSize)));
    assert.ok(sizes.length > 0 && Math.min(...sizes) >= 11, `${kind}: ${Math.min(...sizes)} px`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${kind} is wider than the screen`);
    const seen = () => {
      const [list, one] = [".xe-contents", ".xe-contents [aria-current]"].map((name) => document.querySelector(name).getBoundingClientRect());
      return one.top >= list.top - 1 && one.bottom <= list.bottom + 1;
    };
    assert.ok(await page.evaluate(seen), `${kind} is seen in the list`);
  }
});

inBrowsers(
  "figures stay on white paper on a dark page",
  async ({ open }) => {
    const page = await open("figures", { hash: at("dots"), dark: true });
    await page.waitForSelector(".xe-chart");
    assert.equal(await page.$eval(".xe-paper", (one) => getComputedStyle(one).backgroundColor), "rgb(255, 255, 255)");
  },
  ["chrome"],
);

inBrowsers("a point of an embedding opens its sample", async ({ open }) => {
  const page = await open("figures", { hash: at("embedding") });
  await page.waitForSelector(".xe-chart circle");
  await page.focus(".xe-chart");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector(".xe-tip .xe-thumb");
  await page.keyboard.press("Enter");
  await until(page, () => /^#\/sample\?row=\d+$/.test(location.hash));
});

inBrowsers("a figure of the page leads to itself here, and back", async ({ open }) => {
  const page = await open("toy");
  await page.waitForSelector("#figure-restore-psnr_y .xe-twin");
  await page.click("#figure-restore-psnr_y .xe-twin");
  await until(
    page,
    () => document.querySelector(".xe-figure h3")?.textContent?.startsWith("psnr_y") && document.querySelector(".xe-chart svg"),
  );
  assert.equal(await page.evaluate(() => location.hash), "#/figures?figure=figure-restore-psnr_y");
  await page.click('.xe-figure a[href="#figure-restore-psnr_y"]');
  await until(page, () => Math.abs(document.getElementById("figure-restore-psnr_y").getBoundingClientRect().top) < innerHeight);
});
