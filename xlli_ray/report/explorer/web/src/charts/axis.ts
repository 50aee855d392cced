/** Scales and ticks of figures. */
import { tickStep, ticks } from "d3-array";
import type { AxisData } from "./views";

export interface Tick {
  at: number;
  text: string;
}

/** Values to pixels. */
export interface Axis {
  at(value: number): number;
  value(pixel: number): number;
  low: number;
  high: number;
  log: boolean;
  ticks: Tick[];
}

const MARGIN = 0.05;
/** With more places than this, ticks are placed automatically. */
const PLACES = 9;
/** Names that together take more characters than this stand upright. */
const ACROSS = 30;

/** The ends of the finite values (> 0 with `log`), with a margin on both sides, as shares of their span. */
export function ends(values: Iterable<number>, log = false, margin = MARGIN): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value) || (log && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return log ? [0.1, 10] : [0, 1];
  if (log) {
    const reach = (high / low) ** margin;
    return low === high ? [low / 2, high * 2] : [low / reach, high * reach];
  }
  const reach = margin * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - reach, high + reach];
}

/** An axis from `low` at pixel `from` to `high` at pixel `to`. */
export function axis(
  low: number,
  high: number,
  from: number,
  to: number,
  about: { log?: boolean; falling?: boolean; count?: number } = {},
): Axis {
  const log = about.log ?? false;
  const count = about.count ?? Math.max(2, Math.min(6, Math.floor(Math.abs(to - from) / 60)));
  const [start, end] = about.falling ? [to, from] : [from, to];
  const [into, back] = log ? [Math.log, Math.exp] : [(value: number) => value, (value: number) => value];
  const [first, span] = [into(low), into(high) - into(low)];
  return {
    at: (value) => start + ((into(value) - first) / span) * (end - start),
    value: (pixel) => back(first + ((pixel - start) / (end - start)) * span),
    low,
    high,
    log,
    ticks: log ? logTicks(low, high, count) : linearTicks(low, high, count),
  };
}

/** Round numbers, all with as many decimals as the step between them needs. */
export function linearTicks(low: number, high: number, count: number): Tick[] {
  const decimals = Math.max(0, -Math.floor(Math.log10(tickStep(low, high, count)) + 1e-9));
  const written = (value: number): string =>
    decimals > 5 || Math.abs(value) >= 1e6 ? Number(value.toPrecision(6)).toExponential() : value.toFixed(decimals);
  return ticks(low, high, count).map((at) => ({
    at,
    text: at === 0 ? "0" : written(at).replace("-", "−").replace("e+", "e").replace("e-", "e−"),
  }));
}

/** Powers of ten, or 1, 2, 5 where there are few of these; as in `xlli_ray/plots/ticks.py`. */
export function logTicks(low: number, high: number, most: number): Tick[] {
  const short = high / low <= 100;
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const step = short ? 1 : Math.max(1, Math.ceil((last - first) / most));
  const out: Tick[] = [];
  for (let power = first; power <= last; power += step) {
    for (const digit of short ? [1, 2, 5] : [1]) {
      const at = Number(`${digit}e${power}`);
      if (at >= low && at <= high) out.push({ at, text: short ? String(at).replace("-", "−") : powerText(power) });
    }
  }
  return out;
}

const powerText = (power: number): string =>
  power >= -1 && power <= 3
    ? String(10 ** power)
    : `10${[...String(power)].map((sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)])).join("")}`;

/** Ends of an axis of a figure: data, the zero it starts at, categories with room beside. */
export function endsOf(about: AxisData, values: Iterable<number>, apart = false): [number, number] {
  if (about.names.length && apart) return [Math.min(...about.places) - 0.6, Math.max(...about.places) + 0.6];
  const [low, high] = ends(values, about.log);
  return about.zero && !about.log ? [0, high > 0 ? high : 1] : [low, high];
}

/** The ticks that a figure asks for, else those of the axis. */
export function ticksOf(about: AxisData, made: Axis): Tick[] {
  if (about.names.length) return about.places.map((at, i) => ({ at, text: about.names[i] ?? "" }));
  if (about.places.length && about.places.length <= PLACES) return about.places.map((at) => ({ at, text: short(at) }));
  return made.ticks;
}

export const upright = (about: AxisData): boolean => about.names.join("").length > ACROSS;

/** Six digits, as %g. */
export const short = (value: number): string =>
  String(Number(value.toPrecision(6)))
    .replace("-", "−")
    .replace("e+", "e");
