/** Causal effect maps: what is known of each block of the input, and how it is shown, as in `xlli_ray/views/cem.py`. Pure functions. */
import type { WindowData } from "../data";
import { fixed, shown } from "../format";
import { FAINT, level, palette, type Scale } from "./colour_maps";
import type { Pixels } from "./paint";
import { luma, type Plane } from "./planes";
import rules from "./verdicts.json";
import type { Size } from "./viewport";

/** Planes of blocks, (rows, columns). The last ones of a row or column may be smaller than `side`. */
export interface Blocks {
  /** Input pixels. */
  side: number;
  /** dB. */
  effect: Plane;
  /** Its standard error. */
  error: Plane;
  /** How often a block was replaced; 0: the window cannot depend on it. */
  draws: Plane;
  /** 1 helps, −1 harms, 0 neither, 2 undecided. */
  decided: Plane;
}

export type Verdict = "helps" | "harms" | "neutral" | "undecided" | "out of reach";

export const COLOURS = rules.colours as Record<Exclude<Verdict, "out of reach">, number[]>;

export function verdictOf(decided: number, draws: number): Verdict {
  if (draws === 0) return "out of reach";
  return decided === 1 ? "helps" : decided === -1 ? "harms" : decided === 2 ? "undecided" : "neutral";
}

export interface BlockFacts {
  row: number;
  column: number;
  effect: number;
  error: number;
  draws: number;
  verdict: Verdict;
  /** Effects were rounded by as much as half of this. */
  step: number;
}

/** Of the block that covers the point (x, y), in input pixels; null outside of the sample. */
export function blockAt(blocks: Blocks, sample: Size, x: number, y: number): BlockFacts | null {
  if (!(x >= 0 && y >= 0 && x < sample.width && y < sample.height)) return null;
  const { effect, error, draws, decided, side } = blocks;
  const row = Math.min(effect.height - 1, Math.floor(y / side));
  const column = Math.min(effect.width - 1, Math.floor(x / side));
  const at = row * effect.width + column;
  const drawn = draws.values[at] as number;
  return { row, column, effect: effect.values[at] as number, error: error.values[at] as number, draws: drawn, verdict: verdictOf(decided.values[at] as number, drawn), step: effect.step };
}

/** Effect and standard error of a block: the error with two digits, the effect with as many decimals. */
export function effectText({ effect, error, draws, step }: BlockFacts): string {
  if (draws === 0) return "0 dB exactly";
  const places = error > 0 ? Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(error)))) : 3;
  const text = fixed(effect, places);
  return `${step ? "≈ " : ""}${Number(effect.toFixed(places)) > 0 ? "+" : ""}${text} ± ${shown(error, 2)} dB`;
}

/** How many blocks the window cannot depend on. */
export const outOfReach = ({ draws }: Blocks): number => [...draws.values].filter((one) => one === 0).length;

/** Values of blocks at each pixel of the sample. */
export function inPixels(blocks: Plane, side: number, { height, width }: Size): Plane {
  const values = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const row = Math.min(blocks.height - 1, Math.floor(y / side)) * blocks.width;
    for (let x = 0; x < width; x++) values[y * width + x] = blocks.values[row + Math.min(blocks.width - 1, Math.floor(x / side))] as number;
  }
  return { height, width, channels: 1, values, step: blocks.step };
}

/** Where the colours of a window end, dB, the same for these networks: at the strongest effect beside the window, or at the authors' bound. */
export function effectEnd(windows: readonly WindowData[]): number {
  const sizes = windows.flatMap(({ values }) => [values["strongest"], values["most_harmful"]]).map((value) => Math.abs(value ?? 0));
  return Math.min(Math.max(rules.least, ...sizes), ...windows.map((one) => one.bound ?? Infinity));
}

export const effectScale = (end: number): Scale => ({ low: -end, high: end, colours: "effects", power: 1 });

function largest({ values }: Plane): number {
  let most = 0;
  for (const one of values) if (one > most) most = one;
  return most;
}

/** From 0 to the largest error. */
export const errorScale = (error: Plane): Scale => ({ low: 0, high: Math.max(1e-6, largest(error)), colours: "cividis", power: 1 });

/** What lies below a map: the image, bright where the window can depend on it and dark elsewhere. `image`: of the same size, if there is one. */
export function groundPixels(image: Plane | null, draws: Plane): Pixels {
  const { height, width } = draws;
  const rgba = new Uint8ClampedArray(height * width * 4);
  const grey = image && image.height === height && image.width === width ? luma(image) : new Float32Array(height * width).fill(128);
  for (let i = 0; i < grey.length; i++) {
    const one = grey[i] as number;
    const shade = draws.values[i] === 0 ? rules.dark * one : level(FAINT, one);
    rgba.set([shade, shade, shade, 255], 4 * i);
  }
  return { height, width, rgba };
}

/** Numbers by a scale where blocks were replaced; nothing where the window cannot depend on them. */
export function triedPixels(plane: Plane, scale: Scale, draws: Plane): Pixels {
  const colours = palette(scale);
  return overPixels(draws, (i) => colours.subarray(3 * level(scale, plane.values[i] as number)), 255);
}

/** What was decided, see-through. */
export function verdictPixels(decided: Plane, draws: Plane): Pixels {
  return overPixels(draws, (i) => COLOURS[verdictOf(decided.values[i] as number, 1) as keyof typeof COLOURS], Math.round(255 * rules.veil));
}

function overPixels(draws: Plane, colour: (i: number) => ArrayLike<number>, alpha: number): Pixels {
  const { height, width } = draws;
  const rgba = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < height * width; i++) {
    if (draws.values[i] === 0) continue;
    const one = colour(i);
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = one[c] as number;
    rgba[4 * i + 3] = alpha;
  }
  return { height, width, rgba };
}
