/** What the table shows, as the address says it, and which rows those are. */
import { listed, useMeasures } from "../controls";
import { type Explorer, useExplorer } from "../explorer";
import { names } from "../parts";
import { type Bound, kept, measured, type Measure, parseBounds, parseMeasure, ranked, sorted } from "../rows";

const NETWORKS = 6;

export interface Asked {
  measure: string;
  models: string[];
  compare: [string, string] | null;
  sort: string;
  falling: boolean;
  labels: string[];
  bounds: Bound[];
  text: string;
}

export function useAsked(): Asked {
  const { router, study } = useExplorer();
  const measures = useMeasures();
  const query = router.route.value.query;
  const measure = measures.some((one) => one.id === query["measure"]) ? (query["measure"] as string) : (measures[0]?.id ?? "");
  const known = study.columns.find((one) => one.id === measure)?.models ?? [];
  const chosen = listed(query["models"]).filter((one) => known.includes(one));
  const [one, other] = listed(query["compare"]);
  return {
    measure,
    models: chosen.length ? chosen : known.slice(0, NETWORKS),
    compare: one !== undefined && other !== undefined && known.includes(one) && known.includes(other) ? [one, other] : null,
    sort: query["sort"] ?? "",
    falling: query["dir"] === "desc",
    labels: listed(query["labels"]),
    bounds: parseBounds(query["where"] ?? ""),
    text: query["q"] ?? "",
  };
}

/** Rows that pass the filters, in the order asked for. */
export async function chosenRows(explorer: Explorer, asked: Asked, brushed: ReadonlySet<number> | null): Promise<Uint32Array> {
  const { study } = explorer;
  const tests: ((row: number) => boolean)[] = [];
  if (brushed) tests.push((row) => brushed.has(row));
  if (asked.labels.length) {
    const values = await explorer.values("sample/label");
    const wanted = new Set(asked.labels.map((label) => (values.words?.indexOf(label) ?? -1) + 1));
    tests.push((row) => wanted.has(values.codes?.[row] ?? 0));
  }
  for (const bound of asked.bounds) {
    const values = await measuredBy(explorer, bound.measure);
    if (!values) continue;
    tests.push(bound.sign === "≥" ? (row) => (values[row] as number) >= bound.value : (row) => (values[row] as number) <= bound.value);
  }
  if (asked.text) {
    const all = await allNames(explorer);
    const words = asked.text.toLowerCase().split(/\s+/).filter(Boolean);
    tests.push((row) => words.every((word) => all[row]?.includes(word)));
  }
  const rows = kept(study.rows, tests);
  const by = parseMeasure(asked.sort);
  const values = by && (await measuredBy(explorer, by));
  return values ? sorted(rows, values, asked.falling) : rows;
}

async function measuredBy(explorer: Explorer, measure: Measure): Promise<Float32Array | null> {
  const about = explorer.about(measure.column);
  if (!about) return null;
  const values = await explorer.values(measure.column);
  return values.words ? ranked(values.words, values.codes) : measured(values, about.models, explorer.study.rows, measure);
}

/** Names, ids and addresses of all samples in lower case: loaded when someone searches. */
async function allNames(explorer: Explorer): Promise<string[]> {
  const { rows, partRows } = explorer.study;
  const parts = await Promise.all(Array.from({ length: Math.ceil(rows / partRows) }, (_, part) => names(explorer.parts, part)));
  return parts.flatMap((part) => part.names.map((name, i) => `${name} ${part.ids[i]} ${part.sources[i]}`.toLowerCase()));
}
