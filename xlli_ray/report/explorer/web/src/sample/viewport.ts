/** Which part of a sample is seen. Zoom and pan as pure functions.
 *
 * The view is in input pixels, relative to the whole sample, not to a screen: so panels of any size show the same place, and a link as well. */

export interface Size {
  height: number;
  width: number;
}

export interface View {
  /** What is in the middle, in input pixels. */
  x: number;
  y: number;
  /** 1: the whole sample fits. */
  zoom: number;
}

/** The sample, the shape of the panels, and how far one can zoom in. */
export interface Stage {
  sample: Size;
  /** Width of a panel over its height. */
  aspect: number;
  most: number;
}

/** Pixels of the finest array that are seen across at the largest zoom. */
const FEWEST = 6;

export const stageOf = (sample: Size, finest: number): Stage => ({
  sample, aspect: Math.min(1.8, Math.max(0.6, sample.width / sample.height)), most: Math.max(4, (finest * Math.max(1, sample.height / sample.width)) / FEWEST),
});

export const whole = ({ sample }: Stage): View => ({ x: sample.width / 2, y: sample.height / 2, zoom: 1 });

/** How much is seen, in input pixels. */
export function visible({ sample, aspect }: Stage, view: View): Size {
  const height = Math.max(sample.height, sample.width / aspect) / view.zoom;
  return { height, width: height * aspect };
}

/** The point of the sample at (u, v) of a panel, 0 … 1 from its top left corner. */
export function toSample(stage: Stage, view: View, u: number, v: number): { x: number; y: number } {
  const seen = visible(stage, view);
  return { x: view.x + (u - 0.5) * seen.width, y: view.y + (v - 0.5) * seen.height };
}

/** Its inverse. */
export function toPanel(stage: Stage, view: View, x: number, y: number): { u: number; v: number } {
  const seen = visible(stage, view);
  return { u: (x - view.x) / seen.width + 0.5, v: (y - view.y) / seen.height + 0.5 };
}

/** Neither beyond the limits of zoom, nor with more around the sample than it needs. */
export function limited(stage: Stage, view: View): View {
  const zoom = Math.min(stage.most, Math.max(1, view.zoom));
  const seen = visible(stage, { ...view, zoom });
  const between = (at: number, part: number, all: number): number => (part >= all ? all / 2 : Math.min(all - part / 2, Math.max(part / 2, at)));
  return { x: between(view.x, seen.width, stage.sample.width), y: between(view.y, seen.height, stage.sample.height), zoom };
}

/** `factor` times as near; what is at (u, v) stays there as far as the limits allow. */
export function zoomed(stage: Stage, view: View, factor: number, u = 0.5, v = 0.5): View {
  const zoom = Math.min(stage.most, Math.max(1, view.zoom * factor));
  const point = toSample(stage, view, u, v);
  const seen = visible(stage, { ...view, zoom });
  return limited(stage, { x: point.x - (u - 0.5) * seen.width, y: point.y - (v - 0.5) * seen.height, zoom });
}

/** The sample is moved by shares of a panel. */
export function panned(stage: Stage, view: View, du: number, dv: number): View {
  const seen = visible(stage, view);
  return limited(stage, { ...view, x: view.x - du * seen.width, y: view.y - dv * seen.height });
}

/** `12.5,40,8`; "" for the whole sample. */
export function formatView(view: View): string {
  const short = (value: number): string => String(Math.round(value * 100) / 100);
  return view.zoom <= 1 ? "" : [view.x, view.y, view.zoom].map(short).join(",");
}

export function parseView(stage: Stage, text: string | undefined): View {
  const [x, y, zoom] = (text ?? "").split(",").map((part) => (part === "" ? NaN : Number(part)));
  if (x === undefined || y === undefined || zoom === undefined || ![x, y, zoom].every(Number.isFinite)) return whole(stage);
  return limited(stage, { x, y, zoom });
}
