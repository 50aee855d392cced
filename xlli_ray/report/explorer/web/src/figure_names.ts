/** What the address calls the figures of a study. */
import type { FigureData } from "./data";

/** What the address calls figure `index`: its anchor on the page, or its number. */
export const nameOf = (figures: readonly FigureData[], index: number): string => figures[index]?.anchor || String(index);

/** The figure that the address asks for; the first if there is no such. */
export function chosen(figures: readonly FigureData[], name: string | undefined): number {
  const found = figures.findIndex((one) => one.anchor !== "" && one.anchor === name);
  if (found >= 0) return found;
  return name && /^\d+$/.test(name) && Number(name) < figures.length ? Number(name) : 0;
}
