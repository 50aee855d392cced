import assert from "node:assert/strict";
import { test } from "node:test";
import type { ArrayData, ColumnData, Planes, SampleData, Study, WindowData } from "../src/data";
import { best, besidePanels } from "../src/sample/numbers";
import { arraysOf, chosen, framesOf, kindsOf, mapStages, modelsOf, shownPanels } from "../src/sample/panels";

const array = (key: string, model: string, kind: ArrayData["kind"], what = "", dims = ["channel", "y", "x"]): ArrayData => ({
  key, stage: kind === "image" ? "restore" : kind === "features" ? "features" : kind === "effects" ? "cem" : "lam", model, what, kind, title: key, dtype: "float32", dims,
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
  const [stage] = mapStages(sample);
  assert.deepEqual(stage?.windows.map((one) => [one.top, [...one.of.keys()].join()]), [[16, "a,b"], [40, "a"]]);
});

const effects = (model: string, place: number, top: number, strongest: number): WindowData => ({
  stage: "cem", model, key: `${model}:effect`, place, top, left: 8, size: 4, scale: 2, block: 2, bound: 2.5, values: { strongest, most_harmful: -0.5 },
});
const both = { ...study, arrays: [...arrays, array("a:effect", "a", "effects", "cem", ["window", "y", "x"]), array("b:effect", "b", "effects", "cem", ["window", "y", "x"])] } as unknown as Study;
const withEffects = {
  ...sample, images: { ...sample.images, "a:effect": planes([[0], [1]]), "b:effect": planes([[0], [1]]) },
  windows: [...sample.windows, effects("a", 0, 99, 9), effects("a", 1, 40, 0.8), effects("b", 1, 40, 0.3)],
} as unknown as SampleData;
const panelsOf = (query: object) => {
  const all = arraysOf(both, withEffects);
  const choice = chosen(both, withEffects, all, { ...nothing, ...query });
  return shownPanels(all, choice, (key) => withEffects.images[key]?.places ?? []);
};

test("causal effects stand beside the maps of a window if both have it, whichever stage's windows are listed", () => {
  const ids = (query: object): string[] => panelsOf({ kinds: ["maps", "effects"], ...query }).map((one) => `${one.id} ${one.plane}`);
  assert.deepEqual(ids({ window: { top: 40, left: 8, size: 4 } }), ["a:map 3", "b:map null", "a:effect 1", "b:effect 1"]);
  assert.deepEqual(ids({ stage: "cem", window: { top: 40, left: 8, size: 4 } }), ["a:map 3", "b:map null", "a:effect 1", "b:effect 1"]);
  assert.deepEqual(ids({ stage: "cem", window: { top: 99, left: 8, size: 4 }, kinds: ["effects"] }), ["a:effect 0", "b:effect null"]);
  const kinds = (query: object): string[] => [...new Set(panelsOf(query).map((one) => one.kind))];
  assert.deepEqual(kinds({}), ["input", "target", "outputs", "maps"], "the first window has no effects");
  assert.deepEqual(kinds({ window: { top: 40, left: 8, size: 4 } }), ["input", "target", "outputs", "maps", "effects"]);
  assert.deepEqual(kinds({ stage: "cem" }), ["input", "target", "outputs", "effects"]);
});

test("of a clip each frame has its effects, the frame of the input first", () => {
  const clip = { ...both, arrays: [array("input", "", "image"), array("a:effect", "a", "effects", "cem", ["window", "frame", "y", "x"])] } as unknown as Study;
  const frames = { images: { input: planes([[1]]), "a:effect": planes(maps) }, windows: [effects("a", 1, 40, 0.8)] } as unknown as SampleData;
  const at = (key: string) => frames.images[key]?.places ?? [];
  const all = arraysOf(clip, frames);
  assert.deepEqual(framesOf(all, at), [0, 1]);
  const plane = (frame: string) => shownPanels(all, chosen(clip, frames, all, { ...nothing, kinds: ["effects"], frame }), at)[0]?.plane;
  assert.deepEqual([plane(""), plane("0")], [3, 2]);
});

test("colours of effects end at the strongest block of the networks that are shown; verdicts and errors are panels of their own", () => {
  const ends = (query: object) => panelsOf({ stage: "cem", kinds: ["effects"], window: { top: 40, left: 8, size: 4 }, ...query }).map((one) => one.blocks);
  assert.deepEqual(ends({}), [{ side: 2, end: 0.8 }, { side: 2, end: 0.8 }]);
  assert.deepEqual(ends({ models: ["b"] }), [{ side: 2, end: 0.5 }], "the harmful one counts");
  assert.deepEqual(ends({ window: { top: 99, left: 8, size: 4 }, models: ["a"] }), [{ side: 2, end: 2.5 }], "at most the bound");
  const some = panelsOf({ stage: "cem", models: ["a"], kinds: ["effects", "verdicts", "uncertainty"] });
  assert.deepEqual(some.map((one) => `${one.id} ${one.role}`), ["a:effect effects", "verdicts:a:effect verdicts", "uncertainty:a:effect uncertainty"]);
  assert.deepEqual(kindsOf(arraysOf(both, withEffects)), ["input", "target", "outputs", "errors", "maps", "effects", "verdicts", "uncertainty", "controls", "features"]);
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
