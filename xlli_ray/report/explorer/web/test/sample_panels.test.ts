import assert from "node:assert/strict";
import { test } from "node:test";
import type { ArrayData, ColumnData, Planes, SampleData, Study, WindowData } from "../src/data";
import { best, besidePanels } from "../src/sample/numbers";
import { arraysOf, chosen, framesOf, kindsOf, lamStages, modelsOf, shownPanels } from "../src/sample/panels";

const array = (key: string, model: string, kind: ArrayData["kind"], what = "", dims = ["channel", "y", "x"]): ArrayData => ({
  key, stage: kind === "image" ? "restore" : kind === "features" ? "features" : "lam", model, what, kind, title: key, dtype: "float32", dims,
});
const planes = (places: number[][] = [[]]): Planes => ({ height: 4, width: 4, channels: 1, places, total: places.length, f4: "" });
const window = (model: string, place: number, top: number): WindowData => ({ stage: "lam", model, key: `${model}:map`, place, top, left: 8, size: 4, scale: 2, values: { di: place } });

const arrays = [
  array("input", "", "image"), array("target", "", "image"), array("a:out", "a", "image", "restore"), array("b:out", "b", "image", "restore"),
  array("a:map", "a", "map", "accurate", ["window", "frame", "y", "x"]), array("b:map", "b", "map", "accurate", ["window", "frame", "y", "x"]),
  array("a:control", "a", "map", "accurate.randomised_weights"), array("a:f", "a", "features", "body.0"), array("gone", "b", "features"),
];
const study = { models: ["b", "a"].map((id) => ({ id })), arrays } as unknown as Study;
const maps = [[0, 0], [0, 1], [1, 0], [1, 1]];
const sample = {
  images: { input: planes([[1]]), target: planes([[1]]), "a:out": planes(), "b:out": planes(), "a:map": planes(maps), "b:map": planes(maps), "a:control": planes([[0], [1]]), "a:f": planes([[3], [9]]), rain: planes([[0]]) },
  windows: [window("a", 0, 16), window("a", 1, 40), window("b", 1, 16)],
} as unknown as SampleData;
const places = (key: string): number[][] => sample.images[key]?.places ?? [];
const nothing = { kinds: [], models: [], stage: "", window: null, frame: "", features: [] };
const shown = (query: object): string[] => {
  const all = arraysOf(study, sample);
  return shownPanels(all, chosen(study, sample, all, { ...nothing, ...query }), places).map((one) => `${one.id} ${one.plane}`);
};

test("input, target, outputs and the maps of the first window come first", () => {
  assert.deepEqual(shown({}), ["input 0", "target 0", "a:out 0", "b:out 0", "a:map 1", "b:map 3"]);
});

test("kinds and networks are chosen, in the page's order; a network that has no map of the window says so", () => {
  assert.deepEqual(shown({ kinds: ["maps", "errors"], models: ["b"] }), ["error:b:out 0", "b:map 3"]);
  assert.deepEqual(shown({ kinds: ["maps"], window: { top: 40, left: 8, size: 4 } }), ["a:map 3", "b:map null"]);
  assert.deepEqual(shown({ kinds: ["maps"], frame: "0", models: ["a"] }), ["a:map 0"]);
  assert.deepEqual(shown({ kinds: ["controls"] }), ["a:control 0"]);
});

test("features are an array and a plane, by-products among them", () => {
  assert.deepEqual(shown({ kinds: ["features"] }), ["a:f@ 0"]);
  assert.deepEqual(shown({ kinds: ["features"], features: ["a:f@9", "a:f@", "rain@0", "strange@1"] }), ["a:f@9 1", "a:f@ 0", "rain@0 0"]);
  assert.deepEqual(shown({ kinds: ["features"], features: ["a:f@5"] }), ["a:f@5 null"]);
});

test("what a sample has not is not offered", () => {
  const all = arraysOf(study, sample);
  assert.ok(!all.some((one) => one.key === "gone"));
  assert.deepEqual(kindsOf(all), ["input", "target", "outputs", "errors", "maps", "controls", "features"]);
  assert.deepEqual(modelsOf(study, all), ["b", "a"]);
  assert.deepEqual(framesOf(all, places), [0, 1]);
});

test("windows of several networks at one place are one window", () => {
  const [stage] = lamStages(sample);
  assert.deepEqual(stage?.windows.map((one) => [one.top, [...one.of.keys()].join()]), [[16, "a,b"], [40, "a"]]);
});

test("the better network is marked, unless all are equal or alone", () => {
  const column = { id: "restore/psnr_y", name: "psnr_y", group: "restore", kind: "number", better: "higher", models: ["a", "b"] } as unknown as ColumnData;
  assert.deepEqual([...best(column, { a: 30, b: 31, c: null })], ["b"]);
  assert.deepEqual([...best({ ...column, better: "lower" }, { a: 30, b: 31 })], ["a"]);
  assert.equal(best(column, { a: 30 }).size, 0);
  assert.equal(best(column, { a: 30, b: 30 }).size, 0);
  assert.equal(best({ ...column, better: null }, { a: 30, b: 31 }).size, 0);
  const other = { ...column, id: "own/x", name: "x", group: "own" };
  assert.deepEqual(besidePanels([other, column], { "own/x": { a: 1 }, "restore/psnr_y": { a: 1 } }).map((one) => one.id), ["restore/psnr_y", "own/x"]);
});
