/** Planes as pixels: RGBA, (height, width, 4). Pure functions on arrays. */
import { FAINT, level, palette, type Scale } from "./colour_maps";
import { luma, type Plane } from "./planes";

export interface Pixels {
  height: number;
  width: number;
  rgba: Uint8ClampedArray<ArrayBuffer>;
}

/** An image in its own colours. */
export function imagePixels({ height, width, channels, values }: Plane): Pixels {
  const rgba = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = values[i * channels + (channels === 3 ? c : 0)] as number;
    rgba[4 * i + 3] = 255;
  }
  return { height, width, rgba };
}

/** Single numbers by a scale. `shared`: as opaque as the level is high, so that what is small is see-through. */
export function scaledPixels({ height, width, values }: Plane, scale: Scale, shared = false): Pixels {
  const colours = palette(scale);
  const rgba = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < height * width; i++) {
    const one = level(scale, values[i] as number);
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = colours[3 * one + c] as number;
    rgba[4 * i + 3] = shared ? one : 255;
  }
  return { height, width, rgba };
}

/** The image below a map. */
export function faintPixels(plane: Plane): Pixels {
  return scaledPixels({ ...plane, channels: 1, values: luma(plane) }, FAINT);
}

/** The size of differences, `times` as bright: `range` is what would be white. */
export function differencePixels({ height, width, channels, values }: Plane, range: number, times: number): Pixels {
  const rgba = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      const value = Math.abs(values[i * channels + (channels === 3 ? c : 0)] as number);
      rgba[4 * i + c] = Number.isNaN(value) ? 0 : (255 * value * times) / range;
    }
    rgba[4 * i + 3] = 255;
  }
  return { height, width, rgba };
}
