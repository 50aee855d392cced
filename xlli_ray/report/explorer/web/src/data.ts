/** What the Python side writes for the explorer: `xlli_ray/report/explorer/parts.py` is the other side of this contract.
 *
 * Everything comes in parts with a name (`study`, `names-0`, `column-3`, `sample-17`, …). From disk and from a server a part is the script
 * `data/<part>.js`, a single call `xlli.put("<part>", {...})`: from disk neither `fetch` nor modules work; `xlli.fail("<part>", "why")` of a part
 * that `xlli view` could not make. In a notebook a part is asked from the kernel. Numbers are base64 of little-endian arrays. */

export interface Study {
  format: 1;
  name: string;
  /** The study's folder or URL, as given to `xlli report`: for the commands that the page prints. */
  place: string;
  /** The shell command that continues it, `xlli run RECIPE --out PLACE`; "" if this is not one study on disk. */
  command: string;
  /** Samples. A sample is known by its row in the sample table, 0 … rows − 1. */
  rows: number;
  /** Samples in one part `names-<k>`, and in one part `thumbnails-<k>`. */
  partRows: number;
  thumbnailRows: number;
  /** Side of a thumbnail in pixels, and how many samples have one: the first ones. */
  thumbnailSide: number;
  thumbnails: number;
  models: ModelData[];
  labels: LabelData[];
  columns: ColumnData[];
  arrays: ArrayData[];
  /** Rows whose part `sample-<row>` is written, ascending. A server makes those of all others when asked. */
  held: number[];
  /** Figures of the page that have data: part `figure-<k>` is figure k. */
  figures: FigureData[];
  /** Two studies on one page: the names of both; else empty. Their models are called `<name>: …`. */
  compared: string[];
  /** Whether all parts are made when asked for (`xlli view`, a notebook): of all samples, whatever `held` says, and of whole arrays. False of the
   * files that `xlli report` writes, also where a web server has them. */
  served: boolean;
}

export interface ModelData {
  id: string;
  /** `#rrggbb`. */
  colour: string;
  tags: Record<string, string>;
  /** Output pixels per input pixel. */
  scale: number;
  /** As in the recipe, "" if it has none; and the other fields of its entry that opening it needs (`network`, `args`, …). */
  weights: string;
  known: Record<string, unknown>;
}

export interface LabelData {
  label: string;
  family: string;
  colour: string;
  rows: number;
}

/** A column of samples: one value a sample, or one for each sample and model. Its values are in part `column-<index>`. */
export interface ColumnData {
  /** `sample/label`, `restore/psnr_y`, `lam/di`: group and name. */
  id: string;
  /** `sample`, or the stage. */
  group: string;
  name: string;
  kind: "number" | "word";
  about: string;
  unit: string;
  better: "higher" | "lower" | null;
  /** Models in the order of the values; empty: one value a sample, whatever the model. */
  models: string[];
  /** Each value is the mean over this many rows of the stage's table at most (windows of a sample); 1: the value itself. */
  most: number;
}

/** Part `column-<index>`: `rows` values for each model, one model after another; NaN or code 0: none. */
export type ColumnPart = { f4: string } | { words: string[]; u4: string };

/** Part `names-<k>`: of the samples k·partRows …; equal lengths. */
export interface NamesPart {
  ids: string[];
  /** Short: file, place of a patch. */
  names: string[];
  /** Path or URI of the image. */
  sources: string[];
  /** Failed measurements of these samples. */
  failures: { row: number; stage: string; model: string; reason: string }[];
}

/** Part `thumbnails-<k>`: one image, the thumbnails in rows of `across`, left to right and top to bottom. */
export interface ThumbnailsPart {
  uri: string;
  across: number;
}

/** Something to look at of a sample: its input and target, by-products, stored arrays. */
export interface ArrayData {
  /** `input`, `target`, `rain`, or `<cell>:<array>`: key in `SampleData.images`. */
  key: string;
  stage: string;
  model: string;
  what: string;
  /** `image`: in its own colours; `map`: attribution, one plane a window, 0 … 1; `signed`: symmetric about 0; `effects`: causal effects of blocks
   * in dB, one plane a window, see `EffectPlanes`; `features`: any numbers. */
  kind: "image" | "map" | "signed" | "effects" | "features";
  /** Short, for a panel: `input`, `target`, `imdn`, `imdn model.2.in`. */
  title: string;
  dtype: string;
  /** Names of the axes of a sample: `channel, y, x`, `window, y, x`. */
  dims: string[];
}

/** Part `sample-<row>`. */
export interface SampleData {
  row: number;
  id: string;
  /** Of the input, in pixels: every panel shows the same place, whatever its own resolution. */
  height: number;
  width: number;
  images: Record<string, Planes | EffectPlanes>;
  windows: WindowData[];
  /** Values of this sample: column id → model ("" for columns without) → value, exact. */
  values: Record<string, Record<string, number | string | null>>;
  /** What cannot be shown, with the reason. */
  missing: { key: string; reason: string }[];
}

/** Part `array-<row>-<index>`, of a server only: all planes of array `index` of that sample. */
export type ArrayPart = Planes | EffectPlanes;

/** Planes of one array of one sample, stacked. */
export interface Planes {
  height: number;
  width: number;
  /** 3: RGB; 1: single numbers. */
  channels: 1 | 3;
  /** Places of each plane on the leading axes (window, channel, frame), e.g. [[0], [5]]; [[]] for a single image. */
  places: number[][];
  /** How many planes the array has in all. */
  total: number;
  /** Base64: a PNG file with the planes one below the other, or float32 (planes, channels, height, width). */
  png?: string;
  f4?: string;
  /** With `png`: the values of levels 0 and 255, of each plane; or of all levels that there are. */
  low?: number[];
  high?: number[];
  table?: number[];
}

/** Causal effects of blocks, (rows, columns) of a grid over the input, and of the same places: the standard error of each, how often it was replaced
 * (0: the window cannot depend on it), and what was decided (1 helps, −1 harms, 0 neither, 2 undecided). */
export interface EffectPlanes extends Planes {
  beside: { error: Planes; draws: Planes; decided: Planes };
}

/** A window of a stage `lam` or `cem`, in pixels of the output. */
export interface WindowData {
  stage: string;
  model: string;
  /** Key of its map, "" if none is stored, and its place on the map's first axis. */
  key: string;
  place: number;
  top: number;
  left: number;
  size: number;
  /** Output pixels per input pixel. */
  scale: number;
  values: Record<string, number | null>;
  /** Of causal effects: the side of a block, input pixels, and where their colours end at most, dB. */
  block?: number;
  bound?: number;
}

export interface FigureData {
  /** Id of the stage or analysis. */
  section: string;
  /** Id on the page, for a link. */
  anchor: string;
  title: string;
  caption: string;
  kind: string;
}

/** Part `figure-<k>`: the view as in `report/views.json`, see `xlli_ray/plots`. */
export type FigurePart = { kind: string; title: string } & Record<string, unknown>;
