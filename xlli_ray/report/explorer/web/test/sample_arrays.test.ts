import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { errorScale, FAINT, level, lut, palette, SHARE, signedScale } from "../src/sample/colour_maps";
import { differencePixels, faintPixels, imagePixels, scaledPixels } from "../src/sample/paint";
import { bytes } from "../src/parts";
import { decoded, differenceOf, errorOf, luma, percentile, pixelAt, type Plane, valuesAt } from "../src/sample/planes";
import { decodePng } from "../src/sample/png";

const plane = (height: number, width: number, values: number[], channels: 1 | 3 = 1): Plane => ({ height, width, channels, values: Float32Array.from(values), step: 0 });
const base64 = (values: ArrayBufferView): string => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");

/** A PNG file whose line y has the filter `filters[y]`. */
function png(levels: Uint8Array, width: number, channels: number, filters: number[]): Uint8Array<ArrayBuffer> {
  const length = width * channels;
  const lines: number[] = [];
  filters.forEach((filter, y) => {
    lines.push(filter);
    for (let i = 0; i < length; i++) {
      const at = y * length + i;
      const left = i >= channels ? levels[at - channels]! : 0;
      const above = y ? levels[at - length]! : 0;
      const corner = y && i >= channels ? levels[at - length - channels]! : 0;
      const near = [left, above, corner].map((one) => Math.abs(left + above - corner - one));
      const paeth = [left, above, corner][near.indexOf(Math.min(...near))]!;
      lines.push((levels[at]! - [0, left, above, (left + above) >> 1, paeth][filter]!) & 255);
    }
  });
  const chunk = (name: string, data: Uint8Array): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(data.length);
    head.write(name, 4, "latin1");
    return Buffer.concat([head, data, Buffer.alloc(4)]);
  };
  const about = Buffer.from([0, 0, 0, width, 0, 0, 0, filters.length, 8, channels === 3 ? 2 : 0, 0, 0, 0]);
  const data = deflateSync(Uint8Array.from(lines));
  return Uint8Array.from(Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", about), chunk("IDAT", data.subarray(0, 9)), chunk("IDAT", data.subarray(9)), chunk("IEND", Buffer.alloc(0))]));
}

test("levels of a PNG file come back whatever its filters, colours and pieces", async () => {
  for (const channels of [1, 3] as const) {
    const levels = Uint8Array.from({ length: 10 * 7 * channels }, (_, i) => (i * 37 + ((i * i) % 91)) & 255);
    const read = await decodePng(png(levels, 7, channels, [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]));
    assert.deepEqual([read.height, read.width, read.channels], [10, 7, channels]);
    assert.deepEqual([...read.levels], [...levels]);
  }
});

test("a file of the Python side is read to the level", async () => {
  const text = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAAFCAAAAAClGgl+AAAAHUlEQVR4XmMwfWzOwmL7n+G451mm85MOMBw+zw8AS9wINRaJM+sAAAAASUVORK5CYII=";
  assert.deepEqual([...(await decodePng(bytes(text))).levels], [53, 227, 55, 57, 32, 31, 199, 73, 205, 150, 219, 141, 195, 207, 15]);
  await assert.rejects(decodePng(bytes(base64(Uint8Array.from([1, 2, 3])))), /not a PNG file/);
});

test("planes of numbers are exact, planes of levels are between their ends", async () => {
  const exact = await decoded({ height: 1, width: 2, channels: 1, places: [[4], [7]], total: 9, f4: base64(Float32Array.from([1.5, NaN, -2, 1e-9])) });
  assert.deepEqual([...exact.plane(0).values], [1.5, NaN]);
  assert.deepEqual(valuesAt(exact.plane(1), 0, 1), [Math.fround(1e-9)]);
  assert.equal(exact.plane(0).step, 0);
  const coarse = await decoded({
    height: 1, width: 2, channels: 1, places: [[0], [1]], total: 2, png: base64(png(Uint8Array.from([0, 255, 51, 0]), 2, 1, [0, 0])), low: [-1, 0], high: [1, 10],
  });
  assert.deepEqual([...coarse.plane(0).values], [-1, 1]);
  assert.deepEqual([...coarse.plane(1).values], [2, 0]);
  assert.equal(coarse.plane(1).step, 10 / 255);
});

test("a point of the sample is another pixel in arrays of another resolution", () => {
  const sample = { height: 10, width: 20 };
  assert.deepEqual(pixelAt(plane(40, 80, []), sample, 19.99, 9.99), { row: 39, column: 79 });
  assert.deepEqual(pixelAt(plane(5, 10, []), sample, 3.9, 2.1), { row: 1, column: 1 });
  assert.equal(pixelAt(plane(5, 10, []), sample, 20, 2), null);
  assert.equal(pixelAt(plane(5, 10, []), sample, -0.1, 2), null);
});

test("an error is the mean over channels of what output and target differ by; of other sizes there is none", () => {
  assert.deepEqual([...errorOf(plane(1, 1, [10, 20, 30], 3), plane(1, 1, [13, 20, 24], 3))!.values], [3]);
  assert.deepEqual([...errorOf(plane(1, 1, [100]), plane(1, 1, [100, 100, 100], 3))!.values], [0]);
  assert.equal(errorOf(plane(1, 2, [1, 2]), plane(1, 1, [1])), null);
});

test("a difference is on the finer grid, with its sign", () => {
  const made = differenceOf(plane(1, 1, [10]), plane(2, 2, [10, 11, 9, 30]));
  assert.deepEqual([made.height, made.width, ...made.values], [2, 2, 0, 1, -1, 20]);
  assert.deepEqual([...differencePixels(made, 255, 8).rgba.filter((_, i) => i % 4 === 0)], [0, 8, 8, 160]);
});

test("a map is red as views/lam.py has it: share of the peak to the power 0.4, as opaque as it is high", () => {
  const shares = [0, 1e-3, 0.02, 0.1, 0.5, 1];
  assert.deepEqual(shares.map((one) => level(SHARE, one)), [0, 16, 53, 102, 193, 255]);
  const { rgba } = scaledPixels(plane(1, 6, shares), SHARE, true);
  const colours = shares.map((_, i) => [...rgba.subarray(4 * i, 4 * i + 4)]);
  assert.deepEqual(colours, [[251, 105, 74, 0], [251, 105, 74, 16], [250, 102, 72, 53], [246, 86, 61, 102], [203, 24, 29, 193], [103, 0, 13, 255]]);
  assert.deepEqual([...faintPixels(plane(1, 3, [0, 100, 255])).rgba.filter((_, i) => i % 4 === 0)], [128, 173, 243]);
  assert.equal(palette(FAINT)[3 * level(FAINT, 0)], 128);
});

test("signed maps are white at 0 and symmetric, whatever their signs; NaN is low", () => {
  const scale = signedScale(plane(1, 4, [2, 1, 0, 0.5]));
  assert.deepEqual([scale.low, scale.high], [-2, 2]);
  const { rgba } = scaledPixels(plane(1, 5, [-3, -1, 0, 0.5, 2]), scale);
  assert.deepEqual([0, 1, 2, 3, 4].map((i) => [...rgba.subarray(4 * i, 4 * i + 3)]), [[5, 48, 97], [107, 172, 209], [247, 246, 246], [251, 206, 183], [103, 0, 31]]);
  assert.equal(level(scale, NaN), 0);
  assert.equal(lut("gray")[3 * 77 + 1], 77);
});

test("errors of several networks have one scale", () => {
  assert.equal(errorScale([plane(1, 2, [3, 9]), plane(1, 2, [1, 20])]).high, 20);
  assert.equal(errorScale([plane(1, 1, [0])]).high, 4);
  assert.ok(Math.abs(percentile(Float32Array.from({ length: 1000 }, (_, i) => -i), 50) - 500) < 1);
});

test("an image keeps its levels, grey ones in three channels", () => {
  assert.deepEqual([...imagePixels(plane(1, 2, [7, 255])).rgba], [7, 7, 7, 255, 255, 255, 255, 255]);
  assert.deepEqual([...luma(plane(1, 1, [255, 0, 255], 3))].map((one) => Math.round(one)), [105]);
});
