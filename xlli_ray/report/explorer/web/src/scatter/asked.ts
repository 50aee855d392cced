/** What the scatter shows, from the address; what is not there or does not fit is chosen. */
import type { ColumnData, Study } from "../data";
import { nameOf } from "../figure_names";
import { type Measure, parseMeasure } from "../rows";
import { parseRectangle, type Rectangle } from "./points";

/** Colour by network: one point a sample and network. */
export const NETWORK = "network";
/** Colour by the groups of the embedding. */
export const GROUP = "group";

export interface Asked {
  /** An embedding: figure and number of its cloud; null: two measures. */
  cloud: { figure: string; index: number } | null;
  x: Measure;
  y: Measure;
  /** Column, NETWORK, GROUP or "" for one colour. */
  colour: string;
  brush: Rectangle | null;
  zoom: Rectangle | null;
  faces: boolean;
}

/** Columns that can be an axis: what stages measured first. */
export function axesOf(study: Study): ColumnData[] {
  const numbers = study.columns.filter((one) => one.kind === "number");
  return [...numbers.filter((one) => one.group !== "sample"), ...numbers.filter((one) => one.group === "sample")];
}

export function askedOf(study: Study, query: Readonly<Record<string, string>>): Asked {
  const axes = axesOf(study);
  const known = (text: string | undefined): Measure | null => {
    const found = parseMeasure(text ?? "");
    const about = axes.find((one) => one.id === found?.column);
    if (!found || !about) return null;
    const model = about.models.length && !about.models.includes(found.model) ? (about.models[0] as string) : found.model;
    return { column: about.id, model: about.models.length ? model : "", minus: about.models.includes(found.minus) ? found.minus : "" };
  };
  const first = axes[0];
  // Two networks against each other, else two measures of the one.
  const second = first && first.models.length > 1 ? first : (axes[1] ?? first);
  const x = known(query["x"]) ?? { column: first?.id ?? "", model: first?.models[0] ?? "", minus: "" };
  const y = known(query["y"]) ?? {
    column: second?.id ?? "",
    model: second?.models[second === first ? 1 : 0] ?? second?.models[0] ?? "",
    minus: "",
  };
  const match = /^(.+):(\d{1,6})$/.exec(query["cloud"] ?? "");
  const embedding = study.figures.findIndex((one) => one.kind === "embedding");
  // a study that measured no numbers shows its embedding first
  const usualCloud =
    !["cloud", "x", "y"].some((name) => query[name]) && axes.every((one) => one.group === "sample")
      ? { figure: nameOf(study.figures, embedding), index: 0 }
      : null;
  const cloud = embedding < 0 ? null : match ? { figure: match[1] as string, index: Number(match[2]) } : usualCloud;
  const words = study.columns.some((one) => one.id === query["colour"]);
  const wanted =
    query["colour"] === NETWORK || query["colour"] === GROUP || query["colour"] === "none" || words
      ? (query["colour"] as string)
      : undefined;
  const usual = cloud ? GROUP : study.labels.length > 1 ? "sample/label" : "none";
  const fits = wanted === NETWORK ? !cloud : wanted === GROUP ? cloud !== null : wanted !== undefined;
  const colour = fits ? (wanted as string) : usual;
  return {
    cloud,
    x,
    y,
    colour: colour === "none" ? "" : colour,
    brush: parseRectangle(query["brush"]),
    zoom: parseRectangle(query["zoom"]),
    faces: query["faces"] === "1",
  };
}

/** The same column of two networks: the line y = x tells which is better. */
export const comparable = (asked: Asked): boolean =>
  !asked.cloud &&
  asked.colour !== NETWORK &&
  asked.x.column === asked.y.column &&
  asked.x.model !== asked.y.model &&
  !asked.x.minus &&
  !asked.y.minus;

export function measureText(study: Study, one: Measure, network: boolean): string {
  const about = study.columns.find((column) => column.id === one.column);
  const unit = about?.unit ? `, ${about.unit}` : "";
  const model = network || !one.model ? "" : ` · ${one.model}${one.minus ? ` − ${one.minus}` : ""}`;
  return `${about?.name ?? one.column}${model}${unit}`;
}
