import assert from "node:assert/strict";
import { test } from "node:test";
import { axis, ends, endsOf, linearTicks, logTicks, short, ticksOf } from "../src/charts/axis";
import type { AxisData } from "../src/charts/views";

const plain: AxisData = { label: "", log: false, falling: false, zero: false, places: [], names: [] };
const near = (a: number, b: number): void => assert.ok(Math.abs(a - b) < 1e-9 * Math.max(1, Math.abs(b)), `${a} is not ${b}`);

test("an axis goes from its lower end to its upper one, a falling one the other way, and back from pixels to values", () => {
  const rising = axis(0, 10, 100, 300);
  assert.deepEqual([rising.at(0), rising.at(5), rising.at(10)], [100, 200, 300]);
  const falling = axis(0, 10, 100, 300, { falling: true });
  assert.deepEqual([falling.at(0), falling.at(10)], [300, 100]);
  for (const one of [rising, falling, axis(0.01, 1000, 40, 90, { log: true })]) near(one.value(one.at(7)), 7);
});

test("equal factors are equal lengths on a logarithmic axis", () => {
  const one = axis(1, 10000, 0, 400, { log: true });
  near(one.at(10) - one.at(1), 100);
  near(one.at(1000) - one.at(100), 100);
});

test("ends hold all finite values with room beside; a logarithmic axis leaves out what it cannot place", () => {
  const [low, high] = ends([1, NaN, 3, Infinity]);
  assert.ok(low < 1 && high > 3 && low > 0.8 && high < 3.2);
  const log = ends([0, -2, 1, 100], true);
  assert.ok(log[0] > 0.5 && log[0] < 1 && log[1] > 100);
  for (const none of [ends([]), ends([NaN])]) assert.deepEqual(none, [0, 1]);
  const [from, to] = ends([5, 5]);
  assert.ok(from < 5 && to > 5);
  assert.deepEqual(endsOf({ ...plain, zero: true }, [3, 4])[0], 0);
  assert.deepEqual(endsOf({ ...plain, places: [0, 1, 2], names: ["a", "b", "c"] }, [], true), [-0.6, 2.6]);
});

test("ticks are round, with as many decimals as they need and a true minus", () => {
  assert.deepEqual(
    linearTicks(-1, 1, 4).map((tick) => tick.text),
    ["−1.0", "−0.5", "0", "0.5", "1.0"],
  );
  assert.deepEqual(
    linearTicks(20, 40, 2).map((tick) => tick.text),
    ["20", "30", "40"],
  );
  assert.deepEqual(
    linearTicks(0, 4e-7, 2).map((tick) => tick.text),
    ["0", "2e−7", "4e−7"],
  );
});

test("a long logarithmic axis has powers of ten, a short one 1, 2, 5, as the figures of the page", () => {
  assert.deepEqual(
    logTicks(0.001, 10000, 9).map((tick) => tick.text),
    ["10⁻³", "10⁻²", "0.1", "1", "10", "100", "1000", "10⁴"],
  );
  assert.deepEqual(
    logTicks(2, 60, 5).map((tick) => tick.text),
    ["2", "5", "10", "20", "50"],
  );
  assert.ok(logTicks(1e-12, 1e12, 5).length <= 6);
});

test("a figure's own places and names are its ticks; too many places are left to the axis", () => {
  const made = axis(0, 50, 0, 300);
  assert.deepEqual(ticksOf({ ...plain, places: [0, 1], names: ["x", "y"] }, made), [
    { at: 0, text: "x" },
    { at: 1, text: "y" },
  ]);
  assert.deepEqual(
    ticksOf({ ...plain, places: [10, 25.5] }, made).map((tick) => tick.text),
    ["10", "25.5"],
  );
  assert.equal(ticksOf({ ...plain, places: Array.from({ length: 10 }, (_, i) => i) }, made), made.ticks);
  assert.equal(short(-0.1234567), "−0.123457");
});
