/** Which panels there are of a sample, and which of them are shown. Pure functions on what the page was given and what the address says. */
import type { ArrayData, SampleData, Study, WindowData } from "../data";
import { effectEnd } from "./blocks";
import type { Square } from "./window_calls";

/** Panels of one role can be compared. */
export type Role = "image" | "error" | "map" | "signed" | EffectRole | "features";
/** A causal effect map is shown as effects in dB, as what was decided, and as how sure it is. */
export const EFFECT_ROLES = ["effects", "verdicts", "uncertainty"] as const;
export type EffectRole = (typeof EFFECT_ROLES)[number];

export const KINDS = ["input", "target", "outputs", "errors", "maps", "signed", ...EFFECT_ROLES, "controls", "features"] as const;
export type Kind = (typeof KINDS)[number];
export const KIND_TITLES: Record<Kind, string> = {
  input: "Input", target: "Target", outputs: "Outputs", errors: "Errors", maps: "LAM maps", signed: "Signed maps", effects: "Causal effects", verdicts: "Verdicts",
  uncertainty: "Standard errors", controls: "Controls", features: "Features",
};

export interface Panel {
  /** `input`, a key of `images`, `error:` and a key, `<key>@<plane>`: what the address calls it. */
  id: string;
  /** Its place among the panels, which it keeps when its array or plane changes. */
  slot: string;
  role: Role;
  kind: Kind;
  key: string;
  /** Index of its plane in the stack; null: this sample has no such plane. */
  plane: number | null;
  model: string;
  title: string;
  /** Of causal effects: the side of a block, input pixels, and where the colours end, dB, the same for all networks that are shown. */
  blocks?: { side: number; end: number };
}

/** A stage with maps or causal effects, and the windows of this sample. */
export interface MapStage {
  id: string;
  effects: boolean;
  windows: MapWindow[];
}

export interface MapWindow extends Square {
  scale: number;
  /** By model. */
  of: Map<string, WindowData>;
}

const ERROR = "error:";
const NETWORKS = 4;

/** A stage and its window at the chosen place; null: it has none there. */
export interface Placed {
  stage: MapStage;
  window: MapWindow | null;
}

/** By stage, windows in the order of the first network that has them. */
export function mapStages(sample: SampleData): MapStage[] {
  const stages = new Map<string, MapStage>();
  for (const one of sample.windows) {
    const id = one.stage;
    const stage = stages.get(id) ?? { id, effects: one.block !== undefined, windows: [] };
    stages.set(id, stage);
    let window = stage.windows.find((other) => other.top === one.top && other.left === one.left && other.size === one.size && other.scale === one.scale);
    if (!window) stage.windows.push((window = { top: one.top, left: one.left, size: one.size, scale: one.scale, of: new Map() }));
    if (!window.of.has(one.model)) window.of.set(one.model, one);
  }
  return [...stages.values()];
}

/** Arrays of this sample, those that the study does not list (by-products of a degradation) included. */
export function arraysOf(study: Study, sample: SampleData): ArrayData[] {
  const known = new Set(study.arrays.map((one) => one.key));
  const more = Object.entries(sample.images).filter(([key]) => !known.has(key)).map(([key, planes]): ArrayData => ({
    key, stage: "", model: "", what: key, kind: planes.channels === 3 ? "image" : "features", title: key, dtype: "float32", dims: ["channel", "y", "x"],
  }));
  return [...study.arrays.filter((one) => one.key in sample.images), ...more];
}

const isControl = (one: ArrayData): boolean => one.what.includes(".") && (one.kind === "map" || one.kind === "signed");

/** Of `xlli_ray.lam` there are contribution areas, too. */
export const isArea = (one: { key: string }): boolean => one.key.endsWith(":area");

export function kindOf(one: ArrayData): Kind {
  if (one.key === "input" || one.key === "target") return one.key;
  if (isControl(one)) return "controls";
  return ({ image: "outputs", map: "maps", signed: "signed", effects: "effects", features: "features" } as const)[one.kind];
}

/** What is chosen, as far as it exists; else what one wants to see first. */
export interface Choice {
  kinds: Kind[];
  models: string[];
  /** The stage whose windows are listed, and the chosen one. */
  stage: MapStage | null;
  window: MapWindow | null;
  /** Where maps and causal effects come from: the chosen stage, or the first of the other kind that has a window at the same place. */
  maps: Placed | null;
  effects: Placed | null;
  /** Frame of maps of clips. */
  frame: number | null;
  /** Arrays of features with their planes; null: the plane that varies most comes first. */
  features: { key: string; plane: number | null }[];
}

/** Models with something to see of this sample, in the study's order. */
export function modelsOf(study: Study, arrays: readonly ArrayData[]): string[] {
  const some = new Set(arrays.map((one) => one.model));
  return study.models.map((one) => one.id).filter((id) => some.has(id));
}

export function kindsOf(arrays: readonly ArrayData[]): Kind[] {
  const some = new Set<Kind>(arrays.map(kindOf));
  if (some.has("target") && some.has("outputs")) some.add("errors");
  if (some.has("effects")) for (const kind of EFFECT_ROLES) some.add(kind);
  return KINDS.filter((kind) => some.has(kind));
}

const samePlace = (one: Square, other: Square): boolean => one.top === other.top && one.left === other.left && one.size === other.size;

/** Of these stages the chosen one, else the first with a window at the same place, else the first. */
function placed(stages: readonly MapStage[], chosen: MapStage | null, window: MapWindow | null): Placed | null {
  const at = (one: MapStage): MapWindow | null => (window && one.windows.find((other) => samePlace(other, window) && other.scale === window.scale)) ?? null;
  const stage = stages.find((one) => one === chosen) ?? stages.find(at) ?? stages[0];
  return stage ? { stage, window: at(stage) } : null;
}

/** `query`: the fields of the address, lists already split. */
export function chosen(
  study: Study, sample: SampleData, arrays: readonly ArrayData[],
  query: { kinds: string[]; models: string[]; stage: string; window: Square | null; frame: string; features: string[] },
): Choice {
  const available = kindsOf(arrays);
  const models = modelsOf(study, arrays);
  const stages = mapStages(sample);
  const stage = stages.find((one) => one.id === query.stage) ?? stages[0] ?? null;
  const asked = query.window;
  const window = stage?.windows.find((one) => asked && samePlace(one, asked)) ?? stage?.windows[0] ?? null;
  const maps = placed(stages.filter((one) => !one.effects), stage, window);
  const effects = placed(stages.filter((one) => one.effects), stage, window);
  const kinds = query.kinds.length
    ? available.filter((kind) => query.kinds.includes(kind))
    : available.filter((kind) => ["input", "target", "outputs"].includes(kind) || (kind === "maps" && maps?.window) || (kind === "effects" && effects?.window));
  const someModels = models.filter((one) => query.models.includes(one));
  const frame = /^\d{1,6}$/.test(query.frame) ? Number(query.frame) : (sample.images["input"]?.places[0]?.[0] ?? null);
  const sources = arrays.filter((one) => kindOf(one) === "features");
  const features = query.features.flatMap((text) => {
    const at = text.lastIndexOf("@");
    const key = at < 0 ? text : text.slice(0, at);
    const plane = /^\d{1,9}$/.test(text.slice(at + 1)) && at >= 0 ? Number(text.slice(at + 1)) : null;
    return sources.some((one) => one.key === key) ? [{ key, plane }] : [];
  });
  const first = sources.find((one) => !someModels.length || someModels.includes(one.model)) ?? sources[0];
  return {
    kinds: kinds.length ? kinds : available.slice(0, 1), models: someModels.length ? someModels : models.slice(0, NETWORKS), stage, window, maps, effects, frame,
    features: features.length || !first ? features : [{ key: first.key, plane: null }],
  };
}

/** The panels to show, kind after kind, networks side by side. `places`: of the planes of an array, as loaded. */
export function shownPanels(arrays: readonly ArrayData[], choice: Choice, places: (key: string) => readonly (readonly number[])[]): Panel[] {
  return everyPanel(arrays, choice, places).map((one) => ({ slot: one.id, ...one }));
}

function everyPanel(arrays: readonly ArrayData[], choice: Choice, places: (key: string) => readonly (readonly number[])[]): (Omit<Panel, "slot"> & { slot?: string })[] {
  const out: (Omit<Panel, "slot"> & { slot?: string })[] = [];
  const outputs = arrays.filter((one) => kindOf(one) === "outputs" && (one.model === "" || choice.models.includes(one.model)));
  for (const kind of choice.kinds) {
    if (kind === "errors") {
      for (const one of outputs) if (one.model) out.push({ id: ERROR + one.key, role: "error", kind, key: one.key, plane: 0, model: one.model, title: `|${outputTitle(one, outputs)} − target|` });
    } else if (kind === "features") {
      for (const [slot, { key, plane }] of choice.features.entries()) {
        const one = arrays.find((other) => other.key === key) as ArrayData;
        const all = places(key);
        const index = plane === null ? 0 : all.findIndex((place) => flat(place, all) === plane);
        out.push({ id: `${key}@${plane ?? ""}`, slot: `features ${slot}`, role: "features", kind, key, plane: index < 0 ? null : index, model: one.model, title: one.title });
      }
    } else if (kind === "maps" || kind === "signed" || kind === "controls") {
      for (const one of arrays) {
        if (kindOf(one) !== kind || one.stage !== choice.maps?.stage.id || !choice.models.includes(one.model)) continue;
        const place = choice.maps.window?.of.get(one.model)?.place;
        const title = kind === "controls" ? `${one.model} ${one.what.slice(one.what.indexOf(".") + 1)}${one.kind === "signed" ? " signed" : ""}` : `${one.model} ${isArea(one) ? "contribution area" : kind === "maps" ? "map" : "signed map"}`;
        out.push({ id: one.key, role: one.kind === "map" ? "map" : "signed", kind, key: one.key, plane: place === undefined ? null : mapPlane(places(one.key), place, choice.frame), model: one.model, title });
      }
    } else if (kind === "effects" || kind === "verdicts" || kind === "uncertainty") {
      const of = choice.effects?.window?.of;
      const end = effectEnd(choice.models.flatMap((model) => of?.get(model) ?? []));
      for (const one of arrays) {
        if (one.kind !== "effects" || one.stage !== choice.effects?.stage.id || !choice.models.includes(one.model)) continue;
        const window = of?.get(one.model);
        const plane = window ? mapPlane(places(one.key), window.place, choice.frame) : null;
        const id = kind === "effects" ? one.key : `${kind}:${one.key}`;
        out.push({ id, role: kind, kind, key: one.key, plane, model: one.model, title: `${one.model} ${KIND_TITLES[kind].toLowerCase()}`, blocks: { side: window?.block ?? 1, end } });
      }
    } else {
      for (const one of kind === "outputs" ? outputs : arrays.filter((other) => other.key === kind)) {
        out.push({ id: one.key, role: "image", kind, key: one.key, plane: 0, model: one.model, title: kind === "outputs" ? outputTitle(one, outputs) : one.title });
      }
    }
  }
  return out;
}

/** A network's name, and what tells its outputs apart if it has several. */
function outputTitle(one: ArrayData, outputs: readonly ArrayData[]): string {
  const alone = outputs.filter((other) => other.model === one.model).length < 2;
  return alone ? one.model || one.title : `${one.model || one.title} (${one.stage})`;
}

/** Of the planes (window) or (window, frame) of maps that of a window; of another frame than asked for if that is not there. */
function mapPlane(places: readonly (readonly number[])[], window: number, frame: number | null): number | null {
  const of = places.map((place, index) => ({ place, index })).filter(({ place }) => place[0] === window);
  return (of.find(({ place }) => place.length < 2 || place[1] === frame) ?? of[0])?.index ?? null;
}

/** Frames of the maps of a clip. */
export function framesOf(arrays: readonly ArrayData[], places: (key: string) => readonly (readonly number[])[]): number[] {
  const frames = arrays.filter((one) => (one.kind === "map" || one.kind === "signed" || one.kind === "effects") && one.dims[1] === "frame").flatMap((one) => places(one.key).map((place) => place[1] ?? 0));
  return [...new Set(frames)].sort((a, b) => a - b);
}

/** A plane's number in the address: its place on the only leading axis, else its index among those that are there. */
export function flat(place: readonly number[], all: readonly (readonly number[])[]): number {
  return place.length === 1 ? (place[0] as number) : all.indexOf(place);
}
