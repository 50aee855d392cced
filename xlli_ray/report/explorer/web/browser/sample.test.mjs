// A sample: panels at one place, values under the cursor, comparisons, windows, by keyboard, at 390 px.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { inBrowsers, texts, until } from "./harness.mjs";
import { boxOf, colours, levels, PAGES, part, sampleView } from "./sample_page.mjs";

const OUTPUT = (model) => `restore/${model}/restore:output`;

/** Panel → colour at (u, v) of its canvas, and the text of its value. */
const seen = (page, u = 0.5, v = 0.5) =>
  page.evaluate((x, y) => Object.fromEntries([...document.querySelectorAll(".xe-pane[data-panel]")].map((figure) => {
    const canvas = figure.querySelector("canvas");
    return [figure.dataset.panel, { colour: window.colourAt(canvas, x, y), value: figure.querySelector(".xe-value b")?.textContent }];
  })), u, v);

const view = async (page) => (new URLSearchParams((await page.evaluate(() => location.hash)).split("?")[1]).get("view") ?? "").split(",").map(Number);
const field = async (page, name) => new URLSearchParams((await page.evaluate(() => location.hash)).split("?")[1]).get(name);

/** The address is written when the view rests: on a busy machine also between two steps of a movement. */
async function settled(page, before) {
  await until(page, (old) => location.hash !== old, before);
  for (let last = ""; last !== (last = await page.evaluate(() => location.hash)); ) await new Promise((resolve) => setTimeout(resolve, 500));
}

/** All panels show in their middle what their arrays have at the middle of the view. */
async function assertSamePlace(page, sample) {
  const [x, y] = await view(page);
  const shown = await seen(page);
  assert.ok(Object.keys(shown).length >= 4);
  for (const [key, { colour }] of Object.entries(shown)) {
    const planes = sample.images[key];
    const place = [Math.floor((y / sample.height) * planes.height), Math.floor((x / sample.width) * planes.width)];
    assert.deepEqual(colour, (await levels(page, planes, [place]))[0], `${key} at ${place}`);
  }
}

inBrowsers("the wheel zooms all panels alike, about the pointer; the address has the place", async ({ open }) => {
  const page = await sampleView(open, "toy", { row: "1" });
  const sample = part("toy", 1);
  const box = await boxOf(page, '[data-panel="target"] .xe-canvas');
  const hash = await page.evaluate(() => location.hash);
  await page.mouse.move(box.left + 0.25 * box.width, box.top + 0.75 * box.height);
  const before = (await seen(page, 0.25, 0.75)).input.value;
  for (let i = 0; i < 3; i++) await page.mouse.wheel({ deltaY: -300 });
  await settled(page, hash);
  const [x, y, zoom] = await view(page);
  assert.ok(zoom > 2, String(zoom));
  assert.ok(x < 16 && y > 16, "towards the pointer");
  assert.equal((await seen(page)).input.value, before, "the pixel under the pointer stays there");
  await assertSamePlace(page, sample);
  const link = await open("toy", { hash: await page.evaluate(() => location.hash) });
  await link.waitForSelector(".xe-pane canvas");
  await link.waitForFunction(() => document.querySelectorAll(".xe-pane canvas").length >= 5);
  await colours(link);
  assert.deepEqual(await view(link), [x, y, zoom]);
  await assertSamePlace(link, sample);
});

inBrowsers("a drag pans all panels, a double click shows the whole image again", async ({ open }) => {
  const page = await sampleView(open, "toy", { row: "1", view: "16,16,4" });
  const box = await boxOf(page, '[data-panel="input"] .xe-canvas');
  const hash = await page.evaluate(() => location.hash);
  await page.mouse.move(box.left + 0.5 * box.width, box.top + 0.5 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.left + 0.8 * box.width, box.top + 0.3 * box.height, { steps: 6 });
  await page.mouse.up();
  await settled(page, hash);
  const [x, y] = await view(page);
  assert.ok(Math.abs(x - (16 - 0.3 * 8)) < 0.2 && Math.abs(y - (16 + 0.2 * 8)) < 0.2, `${x}, ${y}`);
  await assertSamePlace(page, part("toy", 1));
  await page.mouse.click(box.left + 9, box.top + 9, { count: 2 });
  await until(page, () => !location.hash.includes("view="));
});

inBrowsers("every panel tells the level under the cursor, as the file has it", async ({ open }) => {
  const page = await sampleView(open, "toy", { row: "2", kinds: "input,target,outputs,errors" });
  const sample = part("toy", 2);
  const box = await boxOf(page, `[data-panel="${OUTPUT("net0")}"] .xe-canvas`);
  await page.mouse.move(box.left + 0.61 * box.width, box.top + 0.33 * box.height);
  await until(page, () => document.querySelectorAll(".xe-value b").length >= 5);
  const shown = await seen(page);
  const [target] = await levels(page, sample.images.target, [[21, 39]]);
  for (const model of ["net0", "net1", "net2"]) {
    const [output] = await levels(page, sample.images[OUTPUT(model)], [[21, 39]]);
    assert.equal(shown[OUTPUT(model)].value, output.join(" "));
    const error = output.reduce((sum, level, c) => sum + Math.abs(level - target[c]), 0) / 3;
    assert.ok(Math.abs(Number(shown[`error:${OUTPUT(model)}`].value) - error) < 0.05);
  }
  assert.equal(shown.input.value, (await levels(page, sample.images.input, [[10, 19]]))[0].join(" "));
  assert.equal(await page.$eval(".xe-position", (one) => one.textContent), "input row 10, column 19 · ×1");
});

inBrowsers("a slider between A and B, by pointer and keys", async ({ open }) => {
  const [a, b] = [OUTPUT("net0"), OUTPUT("net1")];
  const page = await sampleView(open, "toy", { row: "1", view: "16.25,16.25,5.33" });
  await page.click(`[data-panel="${a}"] .xe-ab button:nth-child(1)`);
  await page.click(`[data-panel="${b}"] .xe-ab button:nth-child(2)`);
  await page.waitForSelector(".xe-divider");
  const sides = () => page.$eval(".xe-compare canvas", (canvas) => [0.48, 0.52].map((u) => window.colourAt(canvas, u, 0.5)));
  const sample = part("toy", 1);
  const [one] = await levels(page, sample.images[a], [[32, 32]]);
  const [other] = await levels(page, sample.images[b], [[32, 32]]);
  assert.notDeepEqual(one, other);
  assert.deepEqual(await sides(), [one, other]);
  await page.$eval(".xe-compare", (found) => found.scrollIntoView());
  const box = await boxOf(page, ".xe-compare .xe-canvas");
  await page.mouse.move(box.left + box.width / 2, box.top + box.height / 3);
  await page.mouse.down();
  await page.mouse.move(box.left + 0.8 * box.width, box.top + box.height / 3, { steps: 4 });
  await page.mouse.up();
  await until(page, () => Math.abs(Number(new URLSearchParams(location.hash.split("?")[1]).get("at")) - 0.8) < 0.02);
  assert.deepEqual(await sides(), [one, one]);
  await page.focus(".xe-divider");
  await page.keyboard.press("Home");
  await page.keyboard.press("PageUp");
  await until(page, () => new URLSearchParams(location.hash.split("?")[1]).get("at") === "0.1");
  assert.deepEqual(await sides(), [other, other]);
  assert.equal(await page.$eval(".xe-divider", (found) => found.getAttribute("aria-valuenow")), "10");
});

const middle = (page) => page.$eval(".xe-compare canvas", (canvas) => window.colourAt(canvas, 0.5, 0.5));

inBrowsers("difference and overlay are computed from the levels", async ({ open }) => {
  const [a, b] = ["target", OUTPUT("net2")];
  const page = await sampleView(open, "toy", { row: "1", view: "16.25,16.25,5.33", a, b, mode: "difference", times: "2" });
  await page.waitForSelector(".xe-compare");
  const sample = part("toy", 1);
  const [[one], [other]] = [await levels(page, sample.images[a], [[32, 32]]), await levels(page, sample.images[b], [[32, 32]])];
  const near = (found, expected) => assert.ok(found.every((level, c) => Math.abs(level - expected[c]) <= 2), `${found} ≠ ${expected}`);
  near(await middle(page), one.map((level, c) => Math.min(255, 2 * Math.abs(level - other[c]))));
  await page.select(".xe-compare .xe-line label:nth-of-type(4) select", "16");
  await until(page, () => location.hash.includes("times=16"));
  near(await middle(page), one.map((level, c) => Math.min(255, 16 * Math.abs(level - other[c]))));
  await page.select(".xe-compare .xe-line label:nth-of-type(3) select", "overlay");
  await page.waitForSelector('.xe-compare input[type="range"]');
  await page.$eval('.xe-compare input[type="range"]', (input) => {
    input.value = "25";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await until(page, () => location.hash.includes("amount=0.25"));
  near(await middle(page), one.map((level, c) => 0.75 * level + 0.25 * other[c]));
});

inBrowsers("A and B take turns, until one stops them", async ({ open }) => {
  const page = await sampleView(open, "toy", { row: "1", a: "target", b: OUTPUT("net0"), mode: "blink" });
  await page.waitForSelector(".xe-tag-a");
  await page.waitForSelector(".xe-tag-b");
  const button = async (text) => (await page.$$(".xe-compare button")).at((await texts(page, ".xe-compare button")).indexOf(text));
  await (await button("Stop")).click();
  await until(page, () => [...document.querySelectorAll(".xe-compare button")].some((one) => one.textContent === "Play"));
  const now = await page.$eval(".xe-tag", (one) => one.textContent[0]);
  await (await button(`Show ${now === "A" ? "B" : "A"}`)).click();
  await page.waitForSelector(now === "A" ? ".xe-tag-b" : ".xe-tag-a");
});

inBrowsers("nothing blinks for a reader who wants less motion", async ({ open }) => {
  const page = await sampleView(open, "toy", { row: "1", a: "target", b: OUTPUT("net0"), mode: "blink" }, { still: true });
  await page.waitForSelector(".xe-compare button");
  assert.ok((await texts(page, ".xe-compare button")).includes("Play"));
}, ["chrome"]);

inBrowsers("maps are those of the chosen window, chosen in the list or on a panel", async ({ open }) => {
  const page = await sampleView(open, "lam", { row: "0" });
  const sample = part("lam", 0);
  const windows = sample.windows.filter((one) => one.model === "net1");
  const note = () => page.$eval('[data-panel="lam/net1/accurate:map"] .xe-notes', (one) => one.textContent);
  const shown = (value) => String(Number(value.toPrecision(3)));
  assert.ok((await note()).startsWith(`DI ${shown(windows[0].values.di)}`), await note());
  await page.click(".xe-windows tbody tr:nth-child(2) button");
  await until(page, (text) => document.querySelector('[data-panel="lam/net1/accurate:map"] .xe-notes').textContent.startsWith(text), `DI ${shown(windows[1].values.di)}`);
  const { top, left, size, scale } = windows[0];
  const box = await boxOf(page, '[data-panel="input"] .xe-canvas');
  await page.mouse.click(box.left + ((left + size / 2) / scale / sample.width) * box.width, box.top + ((top + size / 2) / scale / sample.height) * box.height);
  await until(page, (text) => location.hash.includes(`window=${encodeURIComponent(text)}`), `${top},${left},${size}`);
  assert.ok((await note()).startsWith(`DI ${shown(windows[0].values.di)}`));
});

inBrowsers("a picked window prints the recipe's line and the calls", async ({ open }) => {
  const page = await sampleView(open, "lam", { row: "0" });
  const sample = part("lam", 0);
  const picks = await page.$$eval(".xe-toggle", (found) => found.findIndex((one) => one.textContent === "Pick a window"));
  await (await page.$$(".xe-toggle"))[picks].click();
  await page.waitForSelector(".xe-picking");
  const box = await boxOf(page, '[data-panel="target"] .xe-canvas');
  await page.mouse.move(box.left + 0.25 * box.width + 0.2, box.top + 0.125 * box.height + 0.2);
  await page.mouse.down();
  await page.mouse.move(box.left + 0.5 * box.width + 0.2, box.top + 0.375 * box.height + 0.2, { steps: 4 });
  await page.mouse.up();
  await page.waitForSelector(".xe-calls pre");
  const lines = await texts(page, ".xe-calls pre");
  assert.ok(lines[1] === "- lam: {id: lam_8_16_16, windows: [{top: 8, left: 16, size: 16}]}", lines[1]);
  assert.ok(lines[0].startsWith("xlli run toy.yaml --out /") && lines[0].includes("--set 'stages.+={lam: {id: lam_8_16_16,"), lines[0]);
  assert.match(lines[3], /^path,top,left,size\n.*p\d\d\.png,8,16,16$/);
  assert.ok(lines[2].includes(`study.sample("${sample.id}")`) && lines[2].includes("window=(8, 16, 16)"), lines[2]);
  assert.equal(await page.$(".xe-picking"), null, "the next drag pans again");
  await page.$eval(".xe-calls input", (input) => {
    input.value = "9";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await until(page, () => document.querySelector(".xe-calls pre").textContent.includes("top: 9"));
});

inBrowsers("by keyboard: zoom, pan, values in the middle, next and previous sample, back to the table", async ({ open }) => {
  const page = await open("toy", { hash: "#/samples?sort=restore/psnr_y@net0&dir=desc" });
  await page.waitForSelector('th[aria-sort="descending"]');
  await page.waitForSelector(".xe-grid td.num");
  const names = (await texts(page, ".xe-grid tbody .xe-name a")).slice(0, 3);
  await page.focus(".xe-grid");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".xe-pane canvas");
  const title = (text) => until(page, (name) => document.querySelector(".xe-sample h3")?.textContent === name && document.querySelector(".xe-pane canvas"), text);
  await title(names[0]);
  await page.focus(".xe-panels");
  const hash = await page.evaluate(() => location.hash);
  await page.keyboard.press("+");
  await page.keyboard.press("+");
  await page.keyboard.press("ArrowRight");
  await settled(page, hash);
  const [x, y, zoom] = await view(page);
  assert.ok(x > 16 && y === 16 && zoom === 2.25, `${x}, ${y}, ${zoom}`);
  await until(page, () => document.querySelectorAll(".xe-value b").length >= 4);
  assert.ok((await page.$eval(".xe-position", (one) => one.textContent)).startsWith(`input row 16, column ${Math.floor(x)}`));
  await page.keyboard.press("0");
  await until(page, () => !location.hash.includes("view="));
  await page.keyboard.press("j");
  await title(names[1]);
  await until(page, () => document.activeElement?.className === "xe-panels");
  await page.keyboard.down("Alt");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.up("Alt");
  await title(names[2]);
  await page.keyboard.press("k");
  await title(names[1]);
  await page.click(".xe-head button");
  await page.waitForSelector('th[aria-sort="descending"]');
});

inBrowsers("features of a chosen layer and plane", async ({ open }) => {
  const page = await sampleView(open, "toy", { row: "0", kinds: "features" });
  const [array, plane] = await page.$$(".xe-features select");
  await array.select("features/net1/body.1.out:features");
  await until(page, () => document.querySelector('[data-panel^="features/net1/body.1.out:features@"]'));
  await plane.select("2");
  const sample = part("toy", 0);
  const [place] = sample.images["features/net1/body.1.out:features"].places[2];
  await until(page, (id) => document.querySelector(`[data-panel="${id}"]`), `features/net1/body.1.out:features@${place}`);
  assert.equal(await field(page, "features"), encodeURIComponent(`features/net1/body.1.out:features@${place}`));
  await page.click('[aria-label="Another panel of features"]');
  await until(page, () => document.querySelectorAll(".xe-pane canvas").length === 2);
});

inBrowsers("a sample that is not on disk says how it is seen, with its numbers", async ({ open }) => {
  const study = readFileSync(new URL("data/study.js", PAGES.few), "utf8");
  const held = JSON.parse(/"held":(\[[^\]]*\])/.exec(study)[1]);
  assert.equal(held.length, 2);
  const row = [5, 4, 3].find((one) => !held.includes(one));
  const page = await open("few", { hash: `#/sample?row=${row}` });
  await page.waitForSelector(".xe-notheld code");
  assert.match(await page.$eval(".xe-notheld code", (one) => one.textContent), /^xlli view \/.*few$/);
  await until(page, () => document.querySelector(".xe-notheld .xe-thumb").style.backgroundImage);
  await page.waitForSelector(".xe-values td.num");
  const rows = await texts(page, ".xe-values tbody tr");
  assert.ok(rows.some((text) => text.includes("psnr_y") && text.includes(String(30 + row - 2 * (row % 2)))), rows.join("; "));
});

inBrowsers("what failed is told, as text", async ({ open }) => {
  const page = await open("evil", { hash: "#/sample?row=0" });
  await page.waitForSelector(".xe-problems");
  assert.ok((await texts(page, ".xe-problems li")).some((text) => text.includes("</script><script>window.broken=1</script>")));
  assert.equal(await page.evaluate(() => window.broken ?? null), null);
});

inBrowsers("two panels beside each other fit 390 px", async ({ open }) => {
  const page = await sampleView(open, "lam", { row: "0", a: "target", b: OUTPUT("net0") }, { width: 390, height: 800 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the screen");
  const [one, other] = await page.$$eval(".xe-pane", (found) => found.slice(0, 2).map((figure) => figure.getBoundingClientRect().top));
  assert.equal(one, other);
});

inBrowsers("two fingers zoom, one scrolls the page as long as the whole image is seen", async ({ open }) => {
  const page = await sampleView(open, "toy", { row: "1" });
  assert.equal(await page.$eval(".xe-canvas", (one) => getComputedStyle(one).touchAction), "pan-y");
  const box = await boxOf(page, '[data-panel="target"] .xe-canvas');
  const hash = await page.evaluate(() => location.hash);
  const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
  const one = await page.touchscreen.touchStart(x - 20, y);
  const other = await page.touchscreen.touchStart(x + 20, y);
  for (let i = 1; i <= 4; i++) {
    await one.move(x - 20 - 10 * i, y);
    await other.move(x + 20 + 10 * i, y);
  }
  await one.end();
  await other.end();
  await settled(page, hash);
  const [, , zoom] = await view(page);
  assert.ok(zoom > 2 && zoom < 4, String(zoom));
  await until(page, () => getComputedStyle(document.querySelector(".xe-canvas")).touchAction === "none");
}, ["chrome"]);

inBrowsers("axe finds nothing serious", async ({ open }) => {
  const page = await sampleView(open, "lam", { row: "0", a: "target", b: OUTPUT("net0"), pick: "8,16,16", kinds: "input,target,outputs,errors,maps" });
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  const found = await page.evaluate(async () => (await window.axe.run(".xe", { preload: false })).violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`));
  assert.deepEqual(found, []);
}, ["chrome"]);
