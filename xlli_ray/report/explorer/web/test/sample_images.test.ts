import assert from "node:assert/strict";
import { test } from "node:test";
import type { Planes, SampleData } from "../src/data";
import type { Explorer } from "../src/explorer";
import { SampleImages } from "../src/sample/images";
import type { Panel, Role } from "../src/sample/panels";

const planes = (values: number[], places: number[][] = [[]], total = places.length): Planes => ({
  height: 1, width: values.length / places.length, channels: 1, places, total, f4: Buffer.from(Float32Array.from(values).buffer).toString("base64"),
});
const panel = (key: string, role: Role, plane: number | null = 0): Panel => ({ id: key, slot: key, role, kind: "outputs", key, plane, model: "a", title: key });
const images = (all: Record<string, Planes>): SampleImages =>
  new SampleImages({ images: all, row: 3, width: 2 } as unknown as SampleData, { parts: { served: false }, study: { arrays: [] } } as unknown as Explorer);

test("errors of all outputs that are shown have one scale", async () => {
  const all = images({ target: planes([10, 20]), a: planes([13, 20]), b: planes([10, 50]) });
  const one = await all.picture(panel("a", "error"), ["a", "b"]);
  assert.deepEqual([...one.plane.values], [3, 0]);
  assert.equal(one.scale?.high, 30);
  assert.equal((await all.picture(panel("a", "error"), ["a"])).scale?.high, 4);
});

test("what is not there is said: size, frame, plane, window", async () => {
  const all = images({ target: planes([1, 2], [[1]], 4), a: planes([1]), b: planes([1, 2], [[2]], 4), map: planes([1, 0], [[0]]) });
  await assert.rejects(all.picture(panel("a", "error"), []), /differ in size/);
  await assert.rejects(all.picture(panel("b", "error"), []), /output is frame 2, target 1/);
  await assert.rejects(all.picture(panel("map", "map", null), []), /no map of this window/);
  await assert.rejects(all.picture(panel("c", "features"), []), /c is not among what is held/);
});

test("a map lies over the input, but not over another frame of a clip", async () => {
  const clip = images({ input: planes([5, 6], [[1]], 3), map: planes([1, 0, 0.5, 0, 0, 1], [[0, 0], [0, 1], [0, 2]]) });
  assert.deepEqual(await Promise.all([0, 1, 2].map(async (plane) => (await clip.picture(panel("map", "map", plane), [])).layers.length)), [1, 2, 1]);
  assert.equal((await images({ input: planes([5, 6]), map: planes([1, 0], [[0]]) }).picture(panel("map", "map"), [])).layers.length, 2);
});
