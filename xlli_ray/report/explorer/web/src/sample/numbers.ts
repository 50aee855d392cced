/** Numbers beside panels: which are shown, and which network's is the better one. Pure functions. */
import type { ColumnData } from "../data";

export type Values = Readonly<Record<string, Readonly<Record<string, number | string | null>>>>;

const FIRST = ["psnr_y", "ssim_y", "psnr_rgb"];

/** The columns with a value beside each output: of restoration first, two at most. */
export function besidePanels(columns: readonly ColumnData[], values: Values): ColumnData[] {
  const some = columns.filter((one) => one.kind === "number" && one.better && one.models.length > 0 && values[one.id]);
  const rank = (one: ColumnData): number => (FIRST.indexOf(one.name) + 1 || FIRST.length + 1) + (one.group === "restore" ? 0 : 0.5);
  return [...some].sort((a, b) => rank(a) - rank(b)).slice(0, 2);
}

/** The networks with the best value; none if fewer than two have one, or the measure has no better end. */
export function best(column: ColumnData, values: Readonly<Record<string, number | string | null>>): Set<string> {
  const known = Object.entries(values).filter((entry): entry is [string, number] => typeof entry[1] === "number" && Number.isFinite(entry[1]));
  if (!column.better || known.length < 2) return new Set();
  const ends = known.map(([, value]) => value);
  const end = column.better === "higher" ? Math.max(...ends) : Math.min(...ends);
  const found = known.filter(([, value]) => value === end);
  return new Set(found.length < known.length ? found.map(([model]) => model) : []);
}
