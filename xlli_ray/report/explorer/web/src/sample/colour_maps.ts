/** Values as colours, as in `xlli_ray/plots/colour_scale.py`; the tables are those of `lut` there (a test of the Python side says so). */
import tables from "./colour_maps.json";
import { bytes } from "../parts";
import { percentile, type Plane } from "./planes";

export type ColourMap = keyof typeof tables | "gray";

const GREYS = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
const read = new Map<ColourMap, Uint8Array>();

/** 256 × RGB, from low to high. */
export function lut(name: ColourMap): Uint8Array {
  if (name === "gray") return GREYS;
  let table = read.get(name);
  if (!table) read.set(name, (table = bytes(tables[name])));
  return table;
}

export interface Scale {
  low: number;
  high: number;
  colours: ColourMap;
  /** The level is the share of the scale to this power. */
  power: number;
}

/** Of attribution maps, see `xlli_ray/views/lam.py`: a share of the map's own peak, the more opaque the larger it is. */
export const SHARE: Scale = { low: 0, high: 1, colours: "reds", power: 0.4 };
/** Of contribution areas. */
export const AREA: Scale = { ...SHARE, power: 1 };
/** The image below a map: half the contrast, brighter. */
export const FAINT: Scale = { low: -280.5, high: 280.5, colours: "gray", power: 1 };

const PERCENT = 99.7;

/** Blue, white, red and symmetric about 0, whatever the signs. */
export function signedScale(plane: Plane): Scale {
  const high = percentile(plane.values, PERCENT) || 1;
  return { low: -high, high, colours: "RdBu_r", power: 1 };
}

/** Of any numbers: symmetric about 0 where some are negative, else from 0 upwards. */
export function numberScale(plane: Plane): Scale {
  const high = percentile(plane.values, PERCENT) || 1;
  const negative = plane.values.some((value) => value < -1e-6 * high);
  return negative ? { low: -high, high, colours: "RdBu_r", power: 1 } : { low: 0, high, colours: "cividis", power: 1 };
}

/** Of errors in grey levels, one scale for all that are shown. */
export function errorScale(planes: readonly Plane[]): Scale {
  return { low: 0, high: Math.max(4, ...planes.map((plane) => Math.ceil(percentile(plane.values, 99.5)))), colours: "magma", power: 1 };
}

/** 0 … 255; NaN counts as `low`. */
export function level(scale: Scale, value: number): number {
  const share = Number.isNaN(value) ? 0 : Math.min(1, Math.max(0, (value - scale.low) / (scale.high - scale.low)));
  return Math.floor(share ** scale.power * 255 + 0.5);
}

/** 256 × RGB: the colour of each level. */
export function palette(scale: Scale): Uint8Array {
  const table = lut(scale.colours);
  const out = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const at = 3 * Math.floor((i / 255) ** (1 / scale.power) * 255 + 0.5);
    out.set(table.subarray(at, at + 3), 3 * i);
  }
  return out;
}
