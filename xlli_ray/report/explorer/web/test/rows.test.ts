import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBounds, formatMeasure, kept, measured, parseBounds, parseMeasure, ranked, sorted } from "../src/rows";

const rows = Uint32Array.from([0, 1, 2, 3, 4]);

test("rows without a value are last, whichever way; equal ones keep the order of the study", () => {
  const values = Float32Array.from([3, NaN, 1, 3, 2]);
  assert.deepEqual([...sorted(rows, values, false)], [2, 4, 0, 3, 1]);
  assert.deepEqual([...sorted(rows, values, true)], [0, 3, 4, 2, 1]);
});

test("a measure is the values of one model, or a difference of two", () => {
  const values = { numbers: Float32Array.from([1, 2, 3, 10, 20, NaN]) };
  const of = (text: string) => [...measured(values, ["a", "b"], 3, parseMeasure(text)!)];
  assert.deepEqual(of("restore/psnr_y@b"), [10, 20, NaN]);
  assert.deepEqual(of("restore/psnr_y@b−a"), [9, 18, NaN]);
  assert.deepEqual(of("restore/psnr_y@c"), [NaN, NaN, NaN]);
});

test("measures and limits in the address come back as they were", () => {
  for (const text of ["restore/psnr_y@net−0−net1", "sample/height", "lam/di@a b"]) assert.equal(formatMeasure(parseMeasure(text)!), text.replace("−0−net1", "−0"));
  const bounds = parseBounds("restore/psnr_y@a≥30;sample/height≤-2e3;broken;x≥abc");
  assert.equal(bounds.length, 2);
  assert.equal(formatBounds(bounds), "restore/psnr_y@a≥30;sample/height≤-2000");
});

test("words sort as a person would, numbers in them by size", () => {
  const rank = ranked(["noise20", "clean", "noise5"], Uint32Array.from([1, 2, 3, 0]));
  assert.deepEqual([...sorted(Uint32Array.from([0, 1, 2, 3]), rank, false)], [1, 2, 0, 3]);
});

test("only rows that pass all tests are kept", () => {
  assert.deepEqual([...kept(6, [(row) => row > 1, (row) => row % 2 === 0])], [2, 4]);
  assert.equal(kept(3, []).length, 3);
});
