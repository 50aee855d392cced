/** The lines that compute a window's maps: for the recipe, the command line, and Python. Text for copying; nothing is run here. */
import type { ModelData, Study } from "../data";
import { quoted } from "../format";

/** A square in output pixels. */
export interface Square {
  top: number;
  left: number;
  size: number;
}

export const formatSquare = ({ top, left, size }: Square): string => `${top},${left},${size}`;

export function parseSquare(text: string | undefined): Square | null {
  const match = /^(\d{1,6}),(\d{1,6}),(\d{1,6})$/.exec(text ?? "");
  return match && Number(match[3]) > 0 ? { top: Number(match[1]), left: Number(match[2]), size: Number(match[3]) } : null;
}

/** The square with these corners, in output pixels (not whole ones), within an output of this size. The score of a window reads one pixel
 * more than the window has, so its last row and column are not to be had. */
export function squareOf(from: { x: number; y: number }, to: { x: number; y: number }, output: { height: number; width: number }, click = 16): Square {
  const longest = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  const size = Math.max(1, Math.min(longest < 2 ? click : Math.round(longest), output.height - 1, output.width - 1));
  const start = (a: number, b: number, all: number): number => {
    const first = longest < 2 ? a - size / 2 : b < a ? a - size : a;
    return Math.max(0, Math.min(Math.round(first), all - 1 - size));
  };
  return { top: start(from.y, to.y, output.height), left: start(from.x, to.x, output.width), size };
}

/** What is computed of a window. */
export type Probe = "lam" | "cem";

const id = (one: Square, probe: Probe): string => `${probe}_${one.top}_${one.left}_${one.size}`;
const stage = (one: Square, probe: Probe): string => `{${probe}: {id: ${id(one, probe)}, windows: [{top: ${one.top}, left: ${one.left}, size: ${one.size}}]}}`;

/** A stage of its own, so that what was measured stays as it is. */
export const recipeLines = (one: Square, probe: Probe = "lam"): string => `  - ${stage(one, probe).slice(1, -1)}`;

/** The same without a change to the recipe's file. */
export const shellCall = (study: Study, one: Square, probe: Probe = "lam"): string => `${study.command} --set ${quoted(`stages.+=${stage(one, probe)}`)}`;

/** For this image alone: windows.csv, and the recipe's line. */
export function fileLines(one: Square, source: string, probe: Probe = "lam"): { csv: string; recipe: string } {
  const path = /[",\r\n]|^\s|\s$/.test(source) ? `"${source.replaceAll('"', '""')}"` : source;
  return {
    csv: `path,top,left,size\n${path},${one.top},${one.left},${one.size}`,
    recipe: `  - ${probe}: {id: ${id(one, probe)}, windows: {file: windows.csv}}`,
  };
}

/** What `xlli_ray.cem` needs beside the window: with the sample's own key its draws are those of the study. */
const OF_SAMPLE = ["target=np.moveaxis(sample.target, -3, -1)", 'label=sample.row["label"]', 'seed=sample.row["seed"]', "sample=sample.id"];

/** Maps of these networks in Python, without the study's recipe; `shown`: whether outputs are stored, which `study.show` needs. */
export function pythonCall(study: Study, id: string, models: readonly ModelData[], one: Square, shown: boolean, probe: Probe = "lam"): string {
  const place = `(${one.top}, ${one.left}, ${one.size})`;
  const lines = ["import numpy as np", "import xlli_ray", "", `study = xlli_ray.open_study(${python(study.place)})`, `sample = study.sample(${python(id)})`];
  if (shown) lines.push(`study.show(sample.id, window=${place}).save("window.png")`);
  const calls = models.filter((model) => model.weights).map((model) => `    xlli_ray.${probe}(${[python(model.weights), "image", `window=${place}`, ...(probe === "cem" ? ["**of_sample"] : []), ...known(model)].join(", ")}),`);
  if (calls.length) lines.push("", "image = np.moveaxis(sample.input, -3, -1)", ...(probe === "cem" ? [`of_sample = dict(${OF_SAMPLE.join(", ")})`] : []), "results = [", ...calls, "]", `results[0].figure("${probe}.png", others=results[1:])`);
  return lines.join("\n");
}

/** Keyword arguments of a network; its name where that is not its file's. */
function known(model: ModelData): string[] {
  const stem = model.weights.replace(/^builtin:/, "").replace(/^.*\//, "").replace(/\.[^.]*$/, "");
  const fields = Object.entries(model.known).filter(([name]) => /^[a-z_]+$/.test(name));
  return [...(stem === model.id ? [] : [`id=${python(model.id)}`]), ...fields.map(([name, value]) => `${name}=${python(value)}`)];
}

/** A value of JSON as Python writes it. */
export function python(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${python(key)}: ${python(one)}`).join(", ")}}`;
  return typeof value === "string" ? text(value) : String(value);
}

/** Marks that turn the order of letters, and other invisible ones, are escaped: one sees what one copies. */
const text = (value: string): string => JSON.stringify(value).replace(/[\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
