import assert from "node:assert/strict";
import { test } from "node:test";
import type { ColumnData, Study } from "../src/data";
import { askedOf, comparable, measureText } from "../src/scatter/asked";
import { gridIndex } from "../src/scatter/grid_index";
import {
  byNumbers,
  byWords,
  filtered,
  formatRectangle,
  inside,
  LEVELS,
  parseRectangle,
  pointsOf,
  rectangle,
  rowsOf,
} from "../src/scatter/points";
import { scalesOf } from "../src/scatter/plot";

const f = (...values: number[]): Float32Array => Float32Array.from(values);
/** Numbers without a pattern, the same each time. */
const noise = (count: number, start: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => (Math.abs(Math.sin((i + start) * 12.9898) * 43758.5453) % 1) * 500);

test("the index finds the same nearest point as looking at each", () => {
  const [x, y] = [noise(3000, 1), noise(3000, 7777)];
  const index = gridIndex(x, y, 500, 500);
  for (let k = 0; k < 300; k++) {
    const [px, py] = [noise(1, k * 31)[0]!, noise(1, k * 57 + 5)[0]!];
    let [best, least] = [-1, 15 * 15];
    for (let i = 0; i < x.length; i++) {
      const far = (x[i]! - px) ** 2 + (y[i]! - py) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    assert.equal(index.nearest(px, py, 15), best);
  }
  assert.equal(gridIndex(f(), f(), 500, 500).nearest(1, 1, 20), -1);
  assert.equal(
    gridIndex(f(NaN, -50, 499.9), f(1, 1, 499.9), 500, 500).nearest(500, 500, 5),
    2,
    "what is outside is not found, the corner is",
  );
});

test("a sample is a point where both measures have a value, with a network one point each", () => {
  const one = pointsOf([[f(1, NaN, 3), f(4, 5, NaN)]]);
  assert.deepEqual([[...one.x], [...one.y], [...one.row]], [[1], [4], [0]]);
  const two = pointsOf([
    [f(1, 2), f(3, 4)],
    [f(5, NaN), f(7, 8)],
  ]);
  assert.deepEqual(
    [[...two.row], [...two.part]],
    [
      [0, 1, 0],
      [0, 0, 1],
    ],
  );
});

test("a brush takes what is inside, edges included, and comes back from the address", () => {
  const points = pointsOf([[f(0, 1, 2, 3), f(0, 1, 2, 3)]]);
  assert.deepEqual([...inside(points, rectangle(2, 1, 1, 2))], [0, 1, 1, 0]);
  const two = pointsOf([
    [f(1, 2, 3), f(1, 2, 3)],
    [f(1, 2, 9), f(1, 2, 9)],
  ]);
  assert.deepEqual([...rowsOf(two, inside(two, rectangle(2, 3, 0, 9)), 3)], [1, 2], "a sample that is two points counts once");
  assert.deepEqual(parseRectangle(formatRectangle({ x0: -1.5, x1: 2e-7, y0: 0, y1: 1e9 })), { x0: -1.5, x1: 2e-7, y0: 0, y1: 1e9 });
  for (const broken of [undefined, "", "1,2,3", "1,2,3,x", "1,,3,4", "1,2,3,Infinity"]) assert.equal(parseRectangle(broken), null);
  const { points: some, kept } = filtered(points, (i) => i % 2 === 1);
  assert.deepEqual(
    [[...some.x], [...kept]],
    [
      [1, 3],
      [1, 3],
    ],
  );
});

test("words have their own colours in their own order, else the most frequent come first and the rest are others", () => {
  const own = byWords(
    ["clean", "gone", "blur"],
    [1, 3, 3, 0],
    new Map([
      ["clean", "#111111"],
      ["blur", "#222222"],
    ]),
  );
  assert.deepEqual(
    [own.names, own.looks.map((look) => look.colour).slice(0, 2), [...own.code]],
    [
      ["clean", "blur", "none"],
      ["#111111", "#222222"],
      [0, 1, 1, 2],
    ],
  );
  const many = byWords(
    Array.from({ length: 30 }, (_, i) => `w${i}`),
    Array.from({ length: 300 }, (_, i) => (i < 30 ? i + 1 : 7)),
  );
  assert.deepEqual([many.names[0], many.names.length, many.names.at(-1)], ["w6", 11, "others"]);
  assert.equal(new Set(many.looks.map((look) => look.colour + look.mark)).size, 11, "no two look the same");
});

test("numbers go from dark to bright; without one they are grey", () => {
  const made = byNumbers([0, 5, 10, NaN]);
  assert.deepEqual([...made.code], [0, Math.round((LEVELS - 1) / 2), LEVELS - 1, LEVELS]);
  assert.deepEqual(made.scale, { low: 0, high: 10 });
  assert.deepEqual([...byNumbers([3, 3]).code], [0, 0]);
});

const column = (id: string, models: string[], kind: "number" | "word" = "number"): ColumnData => ({
  id,
  group: id.split("/")[0]!,
  name: id.split("/")[1]!,
  kind,
  about: "",
  unit: id.includes("psnr") ? "dB" : "",
  better: null,
  models,
  most: 1,
});
const study = {
  columns: [
    column("sample/label", [], "word"),
    column("sample/height", []),
    column("restore/psnr_y", ["a", "b"]),
    column("restore/ssim_y", ["a", "b"]),
  ],
  labels: [{}, {}],
  models: [],
  figures: [],
} as unknown as Study;

test("without a word in the address two networks are compared on the first measure", () => {
  const asked = askedOf(study, {});
  assert.deepEqual(
    [asked.x, asked.y, asked.colour],
    [{ column: "restore/psnr_y", model: "a", minus: "" }, { column: "restore/psnr_y", model: "b", minus: "" }, "sample/label"],
  );
  assert.ok(comparable(asked));
  assert.ok(!comparable(askedOf(study, { y: "restore/ssim_y@b" })));
  assert.ok(!comparable(askedOf(study, { y: "restore/psnr_y@b−a" })));
});

test("a study without measured numbers shows its embedding, unless two measures are asked for", () => {
  const ddr = {
    ...study,
    columns: study.columns.slice(0, 2),
    figures: [
      { section: "ddr", anchor: "", title: "", caption: "", kind: "curves" },
      { section: "ddr", anchor: "", title: "", caption: "", kind: "embedding" },
    ],
  } as Study;
  assert.deepEqual([askedOf(ddr, {}).cloud, askedOf(ddr, {}).colour], [{ figure: "1", index: 0 }, "group"]);
  assert.equal(askedOf(ddr, { cloud: "none" }).cloud, null);
  assert.equal(askedOf(study, {}).cloud, null);
});

test("what an address asks for and is not there is chosen anew", () => {
  const asked = askedOf(study, { x: "gone/away@a", y: "restore/ssim_y@gone−b", colour: "group", cloud: "figure-x:0", brush: "1,2" });
  assert.deepEqual(
    [asked.x.column, asked.y, asked.colour, asked.cloud, asked.brush],
    ["restore/psnr_y", { column: "restore/ssim_y", model: "a", minus: "b" }, "sample/label", null, null],
  );
  assert.equal(measureText(study, asked.y, false), "ssim_y · a − b");
  assert.equal(measureText(study, asked.x, true), "psnr_y, dB");
});

test("two networks on one measure have one scale, so that the diagonal is where they are equal", () => {
  const points = pointsOf([[f(20, 30), f(25, 50)]]);
  const how = { zoom: null, square: false, bare: false };
  const { x, y } = scalesOf(points, 600, 400, { ...how, comparable: true });
  assert.deepEqual([x.low, x.high], [y.low, y.high]);
  const apart = scalesOf(points, 600, 400, { ...how, comparable: false });
  assert.notEqual(apart.x.high, apart.y.high);
  const square = scalesOf(points, 600, 400, { ...how, comparable: false, square: true });
  assert.ok(Math.abs(square.x.at(1) - square.x.at(0) + (square.y.at(1) - square.y.at(0))) < 1e-9);
});
