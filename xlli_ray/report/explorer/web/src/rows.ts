/** Which samples are shown, and in which order. Pure functions on arrays. */
import type { Values } from "./parts";

/** One number a sample: of a column, of one model, or the difference of two. `restore/psnr_y@imdn`, `restore/psnr_y@rlfn−imdn`. */
export interface Measure {
  column: string;
  model: string;
  /** Subtracted; "" for none. */
  minus: string;
}

const MINUS = "−";

export const formatMeasure = (one: Measure): string =>
  one.column + (one.model ? `@${one.model}` : "") + (one.minus ? `${MINUS}${one.minus}` : "");

export function parseMeasure(text: string): Measure | null {
  const at = text.indexOf("@");
  if (at < 0) return text ? { column: text, model: "", minus: "" } : null;
  const models = text.slice(at + 1).split(MINUS);
  return { column: text.slice(0, at), model: models[0] ?? "", minus: models[1] ?? "" };
}

/** The values of a measure, NaN for none. `models`: the column's, in the order of its values. */
export function measured(values: Values, models: readonly string[], rows: number, one: Measure): Float32Array {
  const numbers = values.numbers ?? Float32Array.from(values.codes);
  const of = (model: string): Float32Array => {
    const index = models.length ? models.indexOf(model) : 0;
    return index < 0 ? new Float32Array(rows).fill(NaN) : numbers.subarray(index * rows, (index + 1) * rows);
  };
  const first = of(one.model);
  if (!one.minus) return first;
  const second = of(one.minus);
  return first.map((value, row) => value - (second[row] ?? NaN));
}

/** Rows sorted by `values`, those without a value last; equal ones stay in the order of the study. */
export function sorted(rows: Uint32Array, values: Float32Array, falling: boolean): Uint32Array {
  const sign = falling ? -1 : 1;
  return Uint32Array.from(rows).sort((a, b) => {
    const x = values[a] as number;
    const y = values[b] as number;
    if (x === y) return a - b;
    if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
    if (Number.isNaN(y)) return -1;
    return sign * (x - y);
  });
}

/** Codes of words in alphabetical order, so that a column of words sorts like one of numbers; NaN for none. */
export function ranked(words: readonly string[], codes: Uint32Array): Float32Array {
  const order = words.map((word, i) => [word, i] as const).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  const rank = new Float32Array(words.length + 1).fill(NaN);
  order.forEach(([, i], place) => void (rank[i + 1] = place));
  return Float32Array.from(codes, (code) => rank[code] ?? NaN);
}

export interface Bound {
  measure: Measure;
  sign: "≥" | "≤";
  value: number;
}

/** `restore/psnr_y@imdn≤30`, several with `;`. */
export function parseBounds(text: string): Bound[] {
  return text.split(";").flatMap((part) => {
    const match = /^(.*)([≥≤])([-+.\deE]+)$/.exec(part);
    const measure = match && parseMeasure(match[1] ?? "");
    return match && measure && Number.isFinite(Number(match[3])) ? [{ measure, sign: match[2] as "≥" | "≤", value: Number(match[3]) }] : [];
  });
}

export const formatBounds = (bounds: readonly Bound[]): string =>
  bounds.map((one) => `${formatMeasure(one.measure)}${one.sign}${one.value}`).join(";");

/** Rows for which all tests hold. */
export function kept(count: number, tests: readonly ((row: number) => boolean)[]): Uint32Array {
  const out = new Uint32Array(count);
  let length = 0;
  for (let row = 0; row < count; row++) if (tests.every((test) => test(row))) out[length++] = row;
  return out.subarray(0, length);
}
