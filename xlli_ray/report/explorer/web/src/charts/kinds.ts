/** The kinds of figures that are drawn here, by the name in their data; images are on the page itself. */
import { curves } from "./curves";
import { dots } from "./dots";
import { embedding } from "./embedding";
import { heat, matrices } from "./heat";
import { histograms } from "./histograms";
import type { Kind } from "./kind";
import { points } from "./points";
import { strips } from "./strips";

// Each is asked for views of its own kind only.
export const KINDS = { curves, dots, scatter: points, histograms, heat, matrices, strips, embedding } as unknown as Readonly<
  Record<string, Kind<{ title: string }>>
>;
