import assert from "node:assert/strict";
import { test } from "node:test";
import type { WindowData } from "../src/data";
import { blockAt, type Blocks, COLOURS, effectEnd, effectScale, effectText, errorScale, groundPixels, inPixels, outOfReach, triedPixels, verdictPixels } from "../src/sample/blocks";
import { FAINT, level } from "../src/sample/colour_maps";
import { decoded, type Plane } from "../src/sample/planes";

const plane = (height: number, width: number, values: number[], step = 0): Plane => ({ height, width, channels: 1, values: Float32Array.from(values), step });
const blocks: Blocks = {
  side: 4, effect: plane(2, 3, [1.25, -0.5, 0.002, 0, 0, 0.3]), error: plane(2, 3, [0.04, 0.125, 0.001, 0, 0, 0.4]),
  draws: plane(2, 3, [4, 64, 8, 0, 4, 64]), decided: plane(2, 3, [1, -1, 0, 0, 0, 2]),
};
/** The last row and column of blocks are smaller. */
const sample = { height: 6, width: 10 };

test("a pixel belongs to the block of the grid, the last ones being smaller", () => {
  const place = (x: number, y: number) => [blockAt(blocks, sample, x, y)?.row, blockAt(blocks, sample, x, y)?.column];
  assert.deepEqual(place(3.9, 3.9), [0, 0]);
  assert.deepEqual(place(4, 3.9), [0, 1]);
  assert.deepEqual(place(9.9, 5.9), [1, 2]);
  assert.equal(blockAt(blocks, sample, 10, 1), null);
  assert.equal(blockAt(blocks, sample, 1, -0.1), null);
  assert.deepEqual([...inPixels(blocks.draws, 4, sample).values.slice(30, 50)], [4, 4, 4, 4, 64, 64, 64, 64, 8, 8, 0, 0, 0, 0, 4, 4, 4, 4, 64, 64]);
});

test("a block tells effect ± standard error, draws and verdict; one out of reach is not one whose effect is measured to be 0", () => {
  const told = (x: number, y: number): string => {
    const block = blockAt(blocks, sample, x, y)!;
    return `${effectText(block)}, ${block.draws}, ${block.verdict}`;
  };
  assert.equal(told(0, 0), "+1.250 ± 0.04 dB, 4, helps");
  assert.equal(told(5, 0), "−0.50 ± 0.13 dB, 64, harms");
  assert.equal(told(9, 0), "+0.0020 ± 0.001 dB, 8, neutral");
  assert.equal(told(0, 5), "0 dB exactly, 0, out of reach");
  assert.equal(told(4, 5), "0.000 ± 0 dB, 4, neutral");
  assert.equal(told(9, 5), "+0.30 ± 0.4 dB, 64, undecided");
  assert.equal(effectText({ ...blockAt(blocks, sample, 0, 0)!, step: 0.01 }), "≈ +1.250 ± 0.04 dB");
  assert.equal(outOfReach(blocks), 1);
});

test("effects have colours as views/cem.py has them: white at 0, |x|^(1/1.2) by sign, nothing but the dark image out of reach", () => {
  const values = plane(1, 5, [-0.8, 0, 0.08, 0.8, 0]);
  const draws = plane(1, 5, [4, 4, 4, 4, 0]);
  const { rgba } = triedPixels(values, effectScale(0.8), draws);
  const colours = [0, 1, 2, 3, 4].map((i) => [...rgba.subarray(4 * i, 4 * i + 4)]);
  assert.deepEqual(colours, [[5, 48, 97, 255], [247, 245, 244, 255], [251, 227, 212, 255], [103, 0, 31, 255], [0, 0, 0, 0]]);
  const ground = groundPixels(plane(1, 5, [100, 100, 100, 100, 100]), draws).rgba;
  assert.deepEqual([ground[0], ground[16]], [level(FAINT, 100), 55]);
  assert.equal(groundPixels(null, draws).rgba[0], level(FAINT, 128), "without an image it is grey");
});

test("verdicts are told apart", () => {
  const { rgba } = verdictPixels(blocks.decided, blocks.draws);
  const colours = [0, 1, 2, 3, 4, 5].map((i) => [...rgba.subarray(4 * i, 4 * i + 4)]);
  const of = (colour: number[]): number[] => [...colour, 153];
  assert.deepEqual(colours, [of(COLOURS.helps), of(COLOURS.harms), of(COLOURS.neutral), [0, 0, 0, 0], of(COLOURS.neutral), of(COLOURS.undecided)]);
});

test("the scale ends at the strongest effect of all networks beside the window, at most at the bound", () => {
  const window = (strongest: number | null, harmful: number | null, bound?: number) => ({ values: { strongest, most_harmful: harmful }, bound }) as unknown as WindowData;
  assert.equal(effectEnd([window(0.4, -0.1, 2.5), window(0.2, -0.7, 2.5)]), 0.7);
  assert.equal(effectEnd([window(4, -0.1, 1)]), 1);
  assert.equal(effectEnd([window(null, null, 2.5)]), 0.01);
  assert.equal(errorScale(blocks.error).high, Math.fround(0.4));
});

test("levels with a table stand for its values", async () => {
  const png = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAABCAAAAAA+i0toAAAADElEQVR4XmNkYGQEAAALAARG1ilfAAAAAElFTkSuQmCC";
  const stack = await decoded({ height: 1, width: 3, channels: 1, places: [[0]], total: 1, png, table: [0, 4, 64] });
  assert.deepEqual([...stack.plane(0).values], [0, 4, 64]);
  assert.equal(stack.plane(0).step, 0);
});
