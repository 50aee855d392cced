// Causal effect maps of a sample: effects beside maps of the same window, what a block tells, and blocks that are out of reach.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { inBrowsers, texts, until } from "./harness.mjs";
import { boxOf, levels, part, sampleView } from "./sample_page.mjs";

const SIDE = 5;
const KEY = (model) => `cem/${model}/cem:effect`;

/** Values of block (row, column) of a window, as the file has them. */
async function blockOf(page, planes, window, row, column) {
  const at = (window * planes.height + row) * planes.width + column;
  const number = (text) => new Float32Array(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer)[at];
  const coded = async ({ png, table }) => table[(await levels(page, { png }, [[window * planes.height + row, column]]))[0][0]];
  const { error, draws, decided } = planes.beside;
  return { effect: number(planes.f4), error: number(error.f4), draws: await coded(draws), decided: await coded(decided) };
}

/** A block of the first window for which `test` is true. */
async function found(page, planes, test) {
  for (let row = 0; row < planes.height; row++) {
    for (let column = 0; column < planes.width; column++) {
      const block = await blockOf(page, planes, 0, row, column);
      if (test(block)) return { ...block, row, column };
    }
  }
  throw new Error("there is no such block");
}

/** Move to the middle of a block, and wait until a panel tells it. */
async function pointAt(page, panel, sample, { row, column }) {
  await page.$eval(`[data-panel="${panel}"]`, (one) => one.scrollIntoView({ block: "center" }));
  const box = await boxOf(page, `[data-panel="${panel}"] .xe-canvas`);
  const middle = (index, all) => (SIDE * index + Math.min(all, SIDE * (index + 1))) / 2 / all;
  const [u, v] = [middle(column, sample.width), middle(row, sample.height)];
  await page.mouse.move(box.left + u * box.width, box.top + v * box.height);
  await until(page, (id, text) => document.querySelector(`[data-panel="${id}"] .xe-value`)?.textContent.includes(text), panel, `row ${row}, col ${column}`);
  return { text: await page.$eval(`[data-panel="${panel}"] .xe-value`, (one) => one.textContent), u, v };
}

inBrowsers("a window's effects stand beside its map, with the counts of its row", async ({ open }) => {
  const page = await sampleView(open, "cem", { row: "0" });
  const panels = await page.$$eval(".xe-pane[data-panel]", (all) => all.map((one) => one.dataset.panel));
  for (const model of ["net0", "net1"]) assert.ok(panels.includes(`lam/${model}/accurate:map`) && panels.includes(KEY(model)), panels.join());
  const note = await page.$eval(`[data-panel="${KEY("net1")}"] .xe-notes`, (one) => one.textContent);
  assert.match(note, /^10 help, 4 harm, 30 neutral \(\d+ out of reach\), 3 undecided range 11.5 px, area 25 %$/);
  await page.select(".xe-sample select", "cem");
  await until(page, () => [...document.querySelectorAll("h4")].some((one) => one.textContent === "Windows of cem"));
  const rows = await texts(page, ".xe-windows tbody tr");
  assert.ok(rows[1].includes("11 help, 4 harm") && rows[2].includes("restored perfectly"), rows.join("; "));
});

inBrowsers("a block tells its effect, standard error, draws and verdict, in every panel", async ({ open }) => {
  const page = await sampleView(open, "cem", { row: "0", stage: "cem", kinds: "effects,verdicts,uncertainty" });
  const sample = part("cem", 0);
  const planes = sample.images[KEY("net0")];
  const block = await found(page, planes, (one) => one.decided === -1 && one.effect < -0.1);
  const { text } = await pointAt(page, KEY("net0"), sample, block);
  const [, effect, error] = /^(−[\d.]+) ± ([\d.]+) dB harms/.exec(text) ?? assert.fail(text);
  assert.ok(Math.abs(Number(effect.replace("−", "-")) - block.effect) < 0.006 && Math.abs(Number(error) - block.error) < 0.006, text);
  assert.ok(text.includes(`${block.draws} draws`), text);
  for (const other of [`verdicts:${KEY("net0")}`, `uncertainty:${KEY("net0")}`]) {
    assert.equal(await page.$eval(`[data-panel="${other}"] .xe-value`, (one) => one.textContent), text);
  }
});

inBrowsers("a block out of reach is dark image, one with a measured effect of nearly 0 is white", async ({ open }) => {
  const page = await sampleView(open, "cem", { row: "0", stage: "cem", kinds: "effects" });
  const sample = part("cem", 0);
  const planes = sample.images[KEY("net0")];
  const colourAt = (u, v) => page.$eval(`[data-panel="${KEY("net0")}"] canvas`, (canvas, x, y) => window.colourAt(canvas, x, y), u, v);
  const far = await found(page, planes, (one) => one.draws === 0);
  const beyond = await pointAt(page, KEY("net0"), sample, far);
  assert.match(beyond.text, /^0 dB exactly the window cannot depend on it not tried/);
  const [red, green, blue] = await colourAt(beyond.u, beyond.v);
  assert.ok(red === green && green === blue && red <= 0.55 * 255 + 1, `${red} ${green} ${blue}`);
  const none = await found(page, planes, (one) => one.draws > 0 && one.decided === 0 && Math.abs(one.effect) < 0.002);
  const near = await pointAt(page, KEY("net0"), sample, none);
  assert.match(near.text, /± .* dB neither helps nor harms/);
  assert.ok((await colourAt(near.u, near.v)).every((level) => level > 235));
});

inBrowsers("effects fit 390 px, and axe finds nothing serious", async ({ open }) => {
  const page = await sampleView(open, "cem", { row: "0", stage: "cem", kinds: "effects,verdicts,uncertainty" }, { width: 390, height: 800 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the screen");
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  const bad = await page.evaluate(async () => (await window.axe.run(".xe", { preload: false })).violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`));
  assert.deepEqual(bad, []);
}, ["chrome"]);
