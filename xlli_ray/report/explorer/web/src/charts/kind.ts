/** What a kind of figure gives: a drawing with places that say their value, a legend, and the plain table of its numbers. */
import type { ComponentChildren } from "preact";
import type { Table } from "../csv";

/** A place of a drawing that says its value when it is pointed at. */
export interface Hit {
  x: number;
  y: number;
  head: string;
  lines: string[];
  colour: string;
  /** The sample it belongs to. */
  row?: number;
}

export interface Drawn {
  height: number;
  /** SVG elements. */
  content: ComponentChildren;
  hits: Hit[];
}

/** A name of the legend. */
export interface Entry {
  name: string;
  /** What stands for it in the drawing, where the name is too long: a number. */
  number?: string;
  colour: string;
  marker: string;
  line: string;
}

export interface Kind<View> {
  legend(view: View): Entry[];
  /** `width` in pixels; names in `hidden` are switched off. */
  draw(view: View, width: number, hidden: ReadonlySet<string>): Drawn;
  table(view: View): Table;
}

// Colours of figures are made for white paper, on a dark page as well: those of xlli_ray/plots/palette.py.
export const PAPER = "#ffffff";
export const INK = "#1f2328";
export const MUTED = "#5b6370";
export const RULE = "#d9dde2";
export const GRID = "#e8eaee";
/** Text of figures, pixels. */
export const SIZE = 11.5;
