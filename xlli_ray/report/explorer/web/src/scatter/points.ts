/** The points of the scatter: pure functions on arrays. */
import { ramp, OTHER, WORDS } from "../charts/colours";
import { MARKS } from "../charts/marks";
import type { CloudData } from "../charts/views";

export interface Points {
  x: Float32Array;
  y: Float32Array;
  /** Row of the sample table. */
  row: Uint32Array;
  /** What the point belongs to: the network of a point a sample and network, the group of an embedding; else 0. */
  part: Uint16Array;
}

/** A point for each row in which both are finite; several pairs (one a network) one after another. */
export function pointsOf(pairs: readonly (readonly [Float32Array, Float32Array])[]): Points {
  const most = pairs.reduce((sum, [x]) => sum + x.length, 0);
  const out: Points = { x: new Float32Array(most), y: new Float32Array(most), row: new Uint32Array(most), part: new Uint16Array(most) };
  let count = 0;
  pairs.forEach(([x, y], part) => {
    for (let row = 0; row < x.length; row++) {
      if (!Number.isFinite(x[row]) || !Number.isFinite(y[row])) continue;
      out.x[count] = x[row] as number;
      out.y[count] = y[row] as number;
      out.row[count] = row;
      out.part[count++] = part;
    }
  });
  return { x: out.x.subarray(0, count), y: out.y.subarray(0, count), row: out.row.subarray(0, count), part: out.part.subarray(0, count) };
}

export const cloudPoints = (cloud: CloudData): Points => ({
  x: Float32Array.from(cloud.x),
  y: Float32Array.from(cloud.y),
  row: Uint32Array.from(cloud.rows),
  part: Uint16Array.from(cloud.group),
});

/** Only the points for which `test` holds. */
export function filtered(points: Points, test: (i: number) => boolean): { points: Points; kept: Uint32Array } {
  const all = new Uint32Array(points.x.length);
  let count = 0;
  for (let i = 0; i < all.length; i++) if (test(i)) all[count++] = i;
  const kept = all.subarray(0, count);
  return {
    points: {
      x: Float32Array.from(kept, (i) => points.x[i] as number),
      y: Float32Array.from(kept, (i) => points.y[i] as number),
      row: Uint32Array.from(kept, (i) => points.row[i] as number),
      part: Uint16Array.from(kept, (i) => points.part[i] as number),
    },
    kept,
  };
}

export interface Rectangle {
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

/** `x0,x1,y0,y1` with six digits; null for anything else. */
export function parseRectangle(text: string | undefined): Rectangle | null {
  const parts = (text ?? "").split(",").map((part) => (part.trim() === "" ? NaN : Number(part)));
  return parts.length === 4 && parts.every(Number.isFinite) ? rectangle(parts[0]!, parts[1]!, parts[2]!, parts[3]!) : null;
}

export const rectangle = (x0: number, x1: number, y0: number, y1: number): Rectangle => ({
  x0: Math.min(x0, x1),
  x1: Math.max(x0, x1),
  y0: Math.min(y0, y1),
  y1: Math.max(y0, y1),
});

export const formatRectangle = (one: Rectangle): string =>
  [one.x0, one.x1, one.y0, one.y1].map((value) => String(Number(value.toPrecision(6)))).join(",");

/** 1 for each point inside, edges included. */
export const inside = (points: Points, one: Rectangle): Uint8Array =>
  Uint8Array.from(points.x, (x, i) =>
    x >= one.x0 && x <= one.x1 && (points.y[i] as number) >= one.y0 && (points.y[i] as number) <= one.y1 ? 1 : 0,
  );

/** The samples of these points, ascending, each once. */
export function rowsOf(points: Points, lit: Uint8Array, rows: number): Uint32Array {
  const seen = new Uint8Array(rows);
  let count = 0;
  lit.forEach((one, i) => {
    const row = points.row[i] as number;
    if (!one || row >= rows || seen[row]) return;
    seen[row] = 1;
    count++;
  });
  const out = new Uint32Array(count);
  for (let row = 0, place = 0; row < rows; row++) if (seen[row]) out[place++] = row;
  return out;
}

/** How points are coloured: `code` is an index in `names` and `looks`, one a point. Numbers have LEVELS of them. */
export interface Colouring {
  names: string[];
  looks: { colour: string; mark: string }[];
  code: Uint16Array;
  /** Ends of the scale, of numbers. */
  scale?: { low: number; high: number };
  /** The number itself, of a row. */
  value?: (row: number) => number | undefined;
}

export const LEVELS = 48;
/** Words beyond this many are shown together as others. */
export const MOST_WORDS = 11;

export const plain = (count: number): Colouring => ({ names: [], looks: [{ colour: WORDS[0], mark: "o" }], code: new Uint16Array(count) });

/** By words, the most frequent first unless they have their own colours. `word`: code of each point, 0 for none. */
export function byWords(words: readonly string[], word: ArrayLike<number>, own?: ReadonlyMap<string, string>): Colouring {
  const counts = new Float64Array(words.length + 1);
  for (let i = 0; i < word.length; i++) counts[word[i] as number]!++;
  const used = words.map((_, i) => i + 1).filter((code) => counts[code]);
  const listed = own
    ? used
    : used.sort((a, b) => counts[b]! - counts[a]! || a - b).slice(0, used.length > MOST_WORDS ? MOST_WORDS - 1 : MOST_WORDS);
  const place = new Uint16Array(words.length + 1).fill(listed.length);
  listed.forEach((code, i) => void (place[code] = i));
  const looks = listed.map((code, i) => ({
    colour: own?.get(words[code - 1] as string) ?? (WORDS[i % WORDS.length] as string),
    mark: MARKS[i % MARKS.length] as string,
  }));
  const code = Uint16Array.from(word, (one) => place[one] as number);
  const names = listed.map((one) => words[one - 1] as string);
  const rest = code.includes(listed.length);
  return rest
    ? { names: [...names, used.length > listed.length ? "others" : "none"], looks: [...looks, { colour: OTHER, mark: "." }], code }
    : { names, looks, code };
}

/** By numbers, dark to bright; grey without one. */
export function byNumbers(values: ArrayLike<number>): Colouring {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  const looks = Array.from({ length: LEVELS }, (_, i) => ({ colour: ramp("cividis", i / (LEVELS - 1)), mark: "o" }));
  looks.push({ colour: OTHER, mark: "." });
  const code = Uint16Array.from(values, (value) =>
    Number.isFinite(value) ? Math.round(((value - low) / (high - low || 1)) * (LEVELS - 1)) : LEVELS,
  );
  return { names: [], looks, code, scale: { low, high } };
}
