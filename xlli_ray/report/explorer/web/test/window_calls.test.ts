import assert from "node:assert/strict";
import { test } from "node:test";
import type { ModelData, Study } from "../src/data";
import { fileLines, formatSquare, parseSquare, python, pythonCall, recipeLines, shellCall, squareOf } from "../src/sample/window_calls";

const one = { top: 96, left: 224, size: 16 };
const study = { place: "/data/my study", command: "xlli run lam.yaml --out '/data/my study'" } as Study;
const model = (id: string, weights: string, known: Record<string, unknown> = {}): ModelData => ({ id, weights, known, colour: "", tags: {}, scale: 4 });

test("the stage of a window is added to the recipe, or with --set for one run", () => {
  assert.equal(recipeLines(one), "  - lam: {id: lam_96_224_16, windows: [{top: 96, left: 224, size: 16}]}");
  assert.equal(shellCall(study, one), "xlli run lam.yaml --out '/data/my study' --set 'stages.+={lam: {id: lam_96_224_16, windows: [{top: 96, left: 224, size: 16}]}}'");
});

test("windows.csv names the image as it is, quoted where it must be", () => {
  assert.equal(fileLines(one, "/a/b.png").csv, "path,top,left,size\n/a/b.png,96,224,16");
  assert.equal(fileLines(one, 'a,"b".png').csv.split("\n")[1], '"a,""b"".png",96,224,16');
});

test("the Python call opens the study's networks as its recipe did", () => {
  const models = [model("imdn", "/w/imdn_x4.pth", { network: "imdn", args: { depth: 3, wide: true }, range: [0, 255] }), model("net", "builtin:net"), model("bicubic", "")];
  assert.equal(pythonCall(study, "abc", models, one, true), [
    "import numpy as np", "import xlli_ray", "", 'study = xlli_ray.open_study("/data/my study")', 'sample = study.sample("abc")',
    'study.show(sample.id, window=(96, 224, 16)).save("window.png")', "", "image = np.moveaxis(sample.input, -3, -1)", "results = [",
    '    xlli_ray.lam("/w/imdn_x4.pth", image, window=(96, 224, 16), id="imdn", network="imdn", args={"depth": 3, "wide": True}, range=[0, 255]),',
    '    xlli_ray.lam("builtin:net", image, window=(96, 224, 16)),', "]", 'results[0].figure("lam.png", others=results[1:])',
  ].join("\n"));
  assert.ok(!pythonCall(study, "abc", [model("bicubic", "")], one, false).includes("lam("));
});

test("of causal effects the calls have the target and the sample's key", () => {
  assert.equal(recipeLines(one, "cem"), "  - cem: {id: cem_96_224_16, windows: [{top: 96, left: 224, size: 16}]}");
  assert.ok(shellCall(study, one, "cem").endsWith("--set 'stages.+={cem: {id: cem_96_224_16, windows: [{top: 96, left: 224, size: 16}]}}'"));
  assert.equal(fileLines(one, "/a/b.png", "cem").recipe, "  - cem: {id: cem_96_224_16, windows: {file: windows.csv}}");
  assert.equal(pythonCall(study, "abc", [model("net", "builtin:net")], one, false, "cem"), [
    "import numpy as np", "import xlli_ray", "", 'study = xlli_ray.open_study("/data/my study")', 'sample = study.sample("abc")', "", "image = np.moveaxis(sample.input, -3, -1)",
    'of_sample = dict(target=np.moveaxis(sample.target, -3, -1), label=sample.row["label"], seed=sample.row["seed"], sample=sample.id)', "results = [",
    '    xlli_ray.cem("builtin:net", image, window=(96, 224, 16), **of_sample),', "]", 'results[0].figure("cem.png", others=results[1:])',
  ].join("\n"));
});

test("text of strangers stays text, and turned letters are seen", () => {
  assert.equal(python('a"b\\c\n'), '"a\\"b\\\\c\\n"');
  assert.equal(python("x\u202ey"), '"x\\u202ey"');
  assert.equal(python(null), "None");
});

test("a drag is a square whatever its direction, a click one of 16, both inside the output without its last row and column", () => {
  const output = { height: 100, width: 200 };
  assert.deepEqual(squareOf({ x: 10, y: 20 }, { x: 42, y: 30 }, output), { top: 20, left: 10, size: 32 });
  assert.deepEqual(squareOf({ x: 42, y: 60 }, { x: 10, y: 50 }, output), { top: 28, left: 10, size: 32 });
  assert.deepEqual(squareOf({ x: 50, y: 50 }, { x: 50.5, y: 50 }, output), { top: 42, left: 42, size: 16 });
  assert.deepEqual(squareOf({ x: 199, y: 99 }, { x: 199, y: 99 }, output), { top: 83, left: 183, size: 16 });
  assert.deepEqual(squareOf({ x: 0, y: 0 }, { x: 500, y: 500 }, output), { top: 0, left: 0, size: 99 });
});

test("a square in the address comes back", () => {
  assert.deepEqual(parseSquare(formatSquare(one)), one);
  for (const text of [undefined, "", "1,2", "1,2,0", "a,2,3", "-1,2,3"]) assert.equal(parseSquare(text), null);
});
