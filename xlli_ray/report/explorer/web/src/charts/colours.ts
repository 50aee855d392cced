/** Colour maps, from low to high; the values are matplotlib's, every 16th, linear between them. */

export type Ramp = "cividis" | "RdBu_r";

const STOPS: Record<Ramp, string> = {
  cividis: "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838",
  RdBu_r: "0530611752902a71b23f8ec06bacd19bc9e0c2ddece0ecf3f7f6f6fbe5d8fbccb4f5aa89e48066d05548ba2832930e2667001f",
};

/** `#rrggbb` at `share`, 0 … 1; outside of it the ends. */
export function ramp(name: Ramp, share: number): string {
  const stops = STOPS[name];
  const last = stops.length / 6 - 1;
  const place = Math.min(1, Math.max(0, share)) * last;
  const first = Math.min(last - 1, Math.floor(place));
  const at = (stop: number, channel: number): number => parseInt(stops.slice(stop * 6 + channel * 2, stop * 6 + channel * 2 + 2), 16);
  const part = [0, 1, 2].map((channel) => Math.round(at(first, channel) + (at(first + 1, channel) - at(first, channel)) * (place - first)));
  return `#${part.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** Whether white text is read better on this colour (ITU-R BT.601 luma). */
export function dark(colour: string): boolean {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)) as [number, number, number];
  return 0.299 * r + 0.587 * g + 0.114 * b < 140;
}

/** For words without a colour of their own, in turn: those of `xlli_ray/plots/palette.py`. */
export const WORDS = [
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#56B4E9",
  "#E69F00",
  "#332288",
  "#882255",
  "#999933",
  "#661100",
  "#00CFC8",
] as const;
export const OTHER = "#9aa0a8";
