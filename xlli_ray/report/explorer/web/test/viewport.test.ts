import assert from "node:assert/strict";
import { test } from "node:test";
import { formatView, limited, panned, parseView, stageOf, toPanel, toSample, visible, whole, zoomed } from "../src/sample/viewport";

const stage = stageOf({ height: 40, width: 60 }, 240);
const near = (a: number, b: number): void => assert.ok(Math.abs(a - b) < 1e-9, `${a} ≠ ${b}`);

test("the whole sample is seen at first, the longer side of an elongated one across the panel", () => {
  assert.deepEqual(visible(stage, whole(stage)), { height: 40, width: 60 });
  const wide = stageOf({ height: 10, width: 100 }, 100);
  near(visible(wide, whole(wide)).width, 100);
  near(visible(wide, whole(wide)).height, 100 / 1.8);
  const tall = stageOf({ height: 100, width: 10 }, 10);
  near(visible(tall, whole(tall)).height, 100);
});

test("what is under the pointer stays there while zooming", () => {
  for (const [u, v] of [[0.5, 0.5], [0.2, 0.7], [0.9, 0.4]] as const) {
    const before = { x: 30, y: 20, zoom: 2 };
    const after = zoomed(stage, before, 1.7, u, v);
    near(after.zoom, 3.4);
    const [a, b] = [toSample(stage, before, u, v), toSample(stage, after, u, v)];
    near(a.x, b.x);
    near(a.y, b.y);
  }
});

test("places of the sample and of the panel are each other's inverse", () => {
  const view = { x: 20, y: 15, zoom: 4 };
  const { x, y } = toSample(stage, view, 0.3, 0.8);
  const { u, v } = toPanel(stage, view, x, y);
  near(u, 0.3);
  near(v, 0.8);
});

test("panning moves the sample with the pointer and stops at its borders", () => {
  const view = { x: 30, y: 20, zoom: 3 };
  near(panned(stage, view, 0.1, 0).x, 30 - 2);
  assert.equal(panned(stage, view, 10, 10).x, 10);
  assert.equal(panned(stage, view, -10, -10).x, 50);
  assert.deepEqual(panned(stage, whole(stage), 0.3, 0.3), whole(stage));
});

test("zoom is between the whole sample and six pixels of the finest array", () => {
  assert.deepEqual(zoomed(stage, whole(stage), 0.1), whole(stage));
  assert.equal(zoomed(stage, whole(stage), 1e9).zoom, stage.most);
  assert.equal(stage.most, 40);
  near((visible(stage, { ...whole(stage), zoom: stage.most }).width / 60) * 240, 6);
});

test("a view in the address comes back; nonsense is the whole sample", () => {
  const view = limited(stage, { x: 12.25, y: 8.5, zoom: 5 });
  assert.deepEqual(parseView(stage, formatView(view)), view);
  assert.equal(formatView(whole(stage)), "");
  for (const text of [undefined, "", "1,2", "a,b,c", "1,,3"]) assert.deepEqual(parseView(stage, text), whole(stage));
  assert.deepEqual(parseView(stage, "-5,900,2"), { x: 15, y: 30, zoom: 2 });
});
