/** The planes of an array as numbers, and what is computed from them: value at a place, error, difference. Pure functions on arrays. */
import type { Planes } from "../data";
import { bytes, floats } from "../parts";
import { decodePng } from "./png";

/** One image, or one plane of a stack. */
export interface Plane {
  height: number;
  width: number;
  channels: 1 | 3;
  /** (height, width, channels). Of images 8-bit levels. */
  values: Uint8Array | Float32Array;
  /** Values were rounded by as much as half of this; 0: they are those of the array. */
  step: number;
}

export interface Stack {
  /** As in `Planes`. */
  places: number[][];
  total: number;
  plane(index: number): Plane;
}

export async function decoded(planes: Planes): Promise<Stack> {
  const { height, width, channels, places, total, table } = planes;
  const length = height * width * channels;
  if (planes.f4 !== undefined) {
    const all = floats(planes.f4);
    return { places, total, plane: (index) => ({ height, width, channels, values: interleaved(all.subarray(index * length, (index + 1) * length), channels), step: 0 }) };
  }
  if (planes.png === undefined) throw new Error("an array without values");
  const { levels } = await decodePng(bytes(planes.png));
  const plane = (index: number): Plane => {
    const own = levels.subarray(index * length, (index + 1) * length);
    if (table) return { height, width, channels, values: Float32Array.from(own, (level) => table[level] ?? NaN), step: 0 };
    const low = planes.low?.[index] ?? 0;
    const high = planes.high?.[index] ?? 255;
    if (low === 0 && high === 255) return { height, width, channels, values: own, step: 0 };
    return { height, width, channels, values: Float32Array.from(own, (level) => low + ((high - low) * level) / 255), step: (high - low) / 255 };
  };
  return { places, total, plane };
}

/** (channels, height, width) → (height, width, channels). */
function interleaved(values: Float32Array, channels: number): Float32Array {
  if (channels === 1) return values;
  const size = values.length / channels;
  return values.map((_, i) => values[(i % channels) * size + Math.floor(i / channels)] as number);
}

/** Row and column of a plane that covers the point (x, y) of a sample, in input pixels. */
export function pixelAt(plane: Plane, sample: { height: number; width: number }, x: number, y: number): { row: number; column: number } | null {
  if (!(x >= 0 && y >= 0 && x < sample.width && y < sample.height)) return null;
  return {
    row: Math.min(plane.height - 1, Math.floor((y * plane.height) / sample.height)),
    column: Math.min(plane.width - 1, Math.floor((x * plane.width) / sample.width)),
  };
}

export function valuesAt(plane: Plane, row: number, column: number): number[] {
  const at = (row * plane.width + column) * plane.channels;
  return Array.from(plane.values.subarray(at, at + plane.channels));
}

/** BT.601 luma of RGB, as `plots/pixels.py`; a single channel is itself. */
export function luma(plane: Plane): Float32Array {
  const { values, channels } = plane;
  if (channels === 1) return Float32Array.from(values);
  const out = new Float32Array(values.length / 3);
  for (let i = 0; i < out.length; i++) out[i] = 0.299 * (values[3 * i] as number) + 0.587 * (values[3 * i + 1] as number) + 0.114 * (values[3 * i + 2] as number);
  return out;
}

/** |output − target|, the mean over channels; of luma where only one of them has colours. null if they differ in size. */
export function errorOf(output: Plane, target: Plane): Plane | null {
  const { height, width } = output;
  if (height !== target.height || width !== target.width) return null;
  const alike = output.channels === target.channels;
  const channels = alike ? output.channels : 1;
  const [one, other] = alike ? [output.values, target.values] : [luma(output), luma(target)];
  const values = new Float32Array(height * width);
  for (let i = 0; i < values.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += Math.abs((one[i * channels + c] as number) - (other[i * channels + c] as number));
    values[i] = sum / channels;
  }
  return { height, width, channels: 1, values, step: 0 };
}

/** `b` − `a` on the finer grid of the two, the coarser one repeated; channels as in `errorOf`. */
export function differenceOf(a: Plane, b: Plane): Plane {
  const height = Math.max(a.height, b.height);
  const width = Math.max(a.width, b.width);
  const alike = a.channels === b.channels;
  const channels = alike ? a.channels : 1;
  const [one, other] = alike ? [a.values, b.values] : [luma(a), luma(b)];
  const values = new Float32Array(height * width * channels);
  let at = 0;
  for (let y = 0; y < height; y++) {
    const rowA = Math.floor((y * a.height) / height) * a.width;
    const rowB = Math.floor((y * b.height) / height) * b.width;
    for (let x = 0; x < width; x++) {
      const i = (rowA + Math.floor((x * a.width) / width)) * channels;
      const k = (rowB + Math.floor((x * b.width) / width)) * channels;
      for (let c = 0; c < channels; c++) values[at++] = (other[k + c] as number) - (one[i + c] as number);
    }
  }
  return { height, width, channels, values, step: a.step + b.step };
}

/** The value below which `share` % of the finite absolute values are, at least; exact to 1/4096 of the largest. */
export function percentile(values: Uint8Array | Float32Array, share: number): number {
  let top = 0;
  let count = 0;
  for (const value of values) {
    const size = Math.abs(value);
    if (!Number.isFinite(size)) continue;
    count++;
    if (size > top) top = size;
  }
  if (!top) return 0;
  const bins = new Uint32Array(4096);
  for (const value of values) {
    const size = Math.abs(value);
    if (Number.isFinite(size)) bins[Math.min(4095, Math.floor((size / top) * 4096))]!++;
  }
  let below = 0;
  for (let i = 0; i < bins.length; i++) {
    below += bins[i] as number;
    if (below >= (share / 100) * count) return ((i + 1) / 4096) * top;
  }
  return top;
}
