/** All samples: sorted, filtered, with thumbnails; one measured number at a time, side by side for several networks. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Choice, list, listed, Toggle, useMeasures } from "./controls";
import { type Explorer, useExplorer, useLoaded } from "./explorer";
import { counted, decimals, fixed, shown } from "./format";
import { names, type Values } from "./parts";
import { csv } from "./csv";
import { type Bound, formatBounds, formatMeasure, kept, measured, type Measure, parseBounds, parseMeasure, ranked, sorted } from "./rows";
import { fileName, saveText } from "./save";
import { samplesTable } from "./tables";
import { Thumbnail } from "./thumbnail";

const ROW = 56;
const BEYOND = 6;
const NETWORKS = 6;

/** What the table shows, from the address. */
interface Asked {
  measure: string;
  models: string[];
  compare: [string, string] | null;
  sort: string;
  falling: boolean;
  labels: string[];
  bounds: Bound[];
  text: string;
}

function useAsked(): Asked {
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
async function chosenRows(explorer: Explorer, asked: Asked, brushed: ReadonlySet<number> | null): Promise<Uint32Array> {
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

export function SamplesTable() {
  const explorer = useExplorer();
  const asked = useAsked();
  const brushed = explorer.brushed.value;
  const key = JSON.stringify([asked.sort, asked.falling, asked.labels, asked.bounds, asked.text, brushed ? [...brushed].length : -1, brushed?.values().next().value]);
  const [rows, setRows] = useState<{ rows: Uint32Array; error: string }>({ rows: new Uint32Array(), error: "" });
  useEffect(() => {
    let current = true;
    chosenRows(explorer, asked, brushed).then(
      (found) => {
        if (!current) return;
        explorer.order.value = found;
        setRows({ rows: found, error: "" });
      },
      (error: Error) => current && setRows((before) => ({ ...before, error: error.message })),
    );
    return () => void (current = false);
  }, [key, brushed]);
  return (
    <section class="xe-samples" aria-label="Samples">
      <Tools asked={asked} count={rows.rows.length} />
      {rows.error && <p class="xe-error">{rows.error}</p>}
      <Grid asked={asked} rows={rows.rows} />
    </section>
  );
}

function Tools({ asked, count }: { asked: Asked; count: number }) {
  const explorer = useExplorer();
  const { router, study } = explorer;
  const measures = useMeasures();
  const about = explorer.about(asked.measure);
  const set = (fields: Record<string, string>): void => router.change(fields);
  const order = (measure: Measure, falling: boolean): void => set({ sort: formatMeasure(measure), dir: falling ? "desc" : "asc" });
  const first: Measure = { column: asked.measure, model: asked.models[0] ?? "", minus: "" };
  const higher = about?.better !== "lower";
  const failures = explorer.about("sample/failures");
  return (
    <div class="xe-tools">
      <div class="xe-line">
        {measures.length > 0 && (
          <Choice
            label="Measure" value={asked.measure}
            options={measures.map((one) => ({ value: one.id, text: one.name, group: one.group }))}
            onChange={(value) => set({ measure: value, sort: "", dir: "", models: "", compare: "" })}
          />
        )}
        {about && (
          <>
            <button type="button" onClick={() => order(first, !higher)}>Worst first</button>
            <button type="button" onClick={() => order(first, higher)}>Best first</button>
          </>
        )}
        {failures && <button type="button" onClick={() => order({ column: "sample/failures", model: "", minus: "" }, true)}>Failures first</button>}
        <label class="xe-choice">
          <span>Find</span>
          <input type="search" value={asked.text} placeholder="file, id" onInput={(event) => set({ q: event.currentTarget.value })} />
        </label>
      </div>
      {about && about.models.length > 1 && (
        <div class="xe-line" role="group" aria-label="Networks">
          {about.models.map((model) => (
            <Toggle
              key={model} on={asked.models.includes(model)} colour={study.models.find((one) => one.id === model)?.colour}
              onClick={() => {
                const next = about.models.filter((one) => (one === model) !== asked.models.includes(one));
                set({ models: list(next) });
              }}
            >
              {model}
            </Toggle>
          ))}
          <Difference asked={asked} models={about.models} />
        </div>
      )}
      {study.labels.length > 1 && (
        <div class="xe-line" role="group" aria-label="Degradations">
          {study.labels.map((one) => (
            <Toggle
              key={one.label} on={asked.labels.includes(one.label)} colour={one.colour} title={`${counted(one.rows)} samples`}
              onClick={() => set({ labels: list(asked.labels.includes(one.label) ? asked.labels.filter((label) => label !== one.label) : [...asked.labels, one.label]) })}
            >
              {one.label}
            </Toggle>
          ))}
        </div>
      )}
      <Bounds asked={asked} />
      <p class="xe-count" aria-live="polite">
        {counted(count)} of {counted(study.rows)} samples
        {explorer.brushed.value && (
          <>
            , brushed in the scatter <button type="button" onClick={() => void (explorer.brushed.value = null)}>show all</button>
          </>
        )}
        {about && about.most > 1 && <>; each value is the mean over up to {about.most} rows of a sample</>}{" "}
        <button type="button" onClick={() => void samplesTable(explorer, explorer.order.peek()).then((table) => saveText(fileName(`${study.name} samples`, "csv"), "text/csv", csv(table)))}>
          Save as CSV
        </button>
      </p>
    </div>
  );
}

/** Choice of two networks whose difference is a column. */
function Difference({ asked, models }: { asked: Asked; models: readonly string[] }) {
  const { router } = useExplorer();
  const options = [{ value: "", text: "–" }, ...models.map((model) => ({ value: model, text: model }))];
  const [one, other] = asked.compare ?? ["", ""];
  const set = (a: string, b: string): void => {
    const sort = a && b ? formatMeasure({ column: asked.measure, model: b, minus: a }) : "";
    router.change({ compare: a || b ? list([a, b]) : "", sort, dir: sort ? "desc" : "" });
  };
  const [draft, setDraft] = useState<[string, string]>([one, other]);
  const change = (a: string, b: string): void => {
    setDraft([a, b]);
    if ((a && b && a !== b) || (!a && !b)) set(a, b);
  };
  return (
    <span class="xe-difference">
      <Choice label="Difference" value={draft[1]} options={options} onChange={(value) => change(draft[0], value)} />
      <Choice label="minus" value={draft[0]} options={options} onChange={(value) => change(value, draft[1])} />
    </span>
  );
}

/** Limits on numbers. */
function Bounds({ asked }: { asked: Asked }) {
  const { router, study } = useExplorer();
  const numbers = study.columns.filter((one) => one.kind === "number");
  const options = numbers.flatMap((one) =>
    (one.models.length ? one.models : [""]).map((model) => {
      const value = formatMeasure({ column: one.id, model, minus: "" });
      return { value, text: model ? `${one.name}, ${model}` : one.name, group: one.group };
    }),
  );
  const [what, setWhat] = useState(options[0]?.value ?? "");
  const [sign, setSign] = useState<"≥" | "≤">("≥");
  const [value, setValue] = useState("");
  if (!options.length) return null;
  const set = (bounds: readonly Bound[]): void => router.change({ where: formatBounds(bounds) });
  return (
    <details class="xe-bounds" open={asked.bounds.length > 0}>
      <summary>Limits on numbers</summary>
      <div class="xe-line">
        <Choice label="Column" value={what} options={options} onChange={setWhat} />
        <Choice label="is" value={sign} options={[{ value: "≥", text: "at least" }, { value: "≤", text: "at most" }]} onChange={(one) => setSign(one as "≥" | "≤")} />
        <label class="xe-choice">
          <span>value</span>
          <input type="number" step="any" value={value} onInput={(event) => setValue(event.currentTarget.value)} />
        </label>
        <button
          type="button" disabled={value === ""}
          onClick={() => {
            const measure = parseMeasure(what);
            if (measure) set([...asked.bounds, { measure, sign, value: Number(value) }]);
          }}
        >
          Add
        </button>
        {asked.bounds.map((one, i) => (
          <button type="button" key={i} class="xe-chip" aria-label={`remove ${formatBounds([one])}`} onClick={() => set(asked.bounds.filter((_, k) => k !== i))}>
            {formatBounds([one])} ×
          </button>
        ))}
      </div>
    </details>
  );
}

interface Column {
  key: string;
  head: string;
  sort: Measure;
  colour?: string;
  text: (row: number) => string;
  numeric: boolean;
}

/** The columns of numbers and words that are shown. */
function useColumns(asked: Asked): Column[] {
  const explorer = useExplorer();
  const { study } = explorer;
  const about = explorer.about(asked.measure);
  const { value: values } = useLoaded(asked.measure, () => (about ? explorer.values(asked.measure) : Promise.resolve(null)));
  const { value: labels } = useLoaded("sample/label", () => (study.labels.length > 1 ? explorer.values("sample/label") : Promise.resolve(null)));
  const { value: failed } = useLoaded("sample/failures", () => (explorer.about("sample/failures") ? explorer.values("sample/failures") : Promise.resolve(null)));
  return useMemo(() => {
    const out: Column[] = [];
    if (study.labels.length > 1) out.push({ key: "label", head: "degradation", sort: { column: "sample/label", model: "", minus: "" }, text: (row) => word(labels, row), numeric: false });
    if (about && values) {
      const add = (measure: Measure, head: string): void => {
        const numbers = measured(values, about.models, study.rows, measure);
        const places = decimals(numbers);
        const text = (value: number): string => (measure.minus && value > 0 ? "+" : "") + fixed(value, places);
        const colour = measure.minus ? undefined : study.models.find((one) => one.id === measure.model)?.colour;
        out.push({ key: formatMeasure(measure), head, sort: measure, colour, text: (row) => text(numbers[row] ?? NaN), numeric: true });
      };
      for (const model of about.models.length ? asked.models : [""]) add({ column: about.id, model, minus: "" }, model || about.name);
      if (asked.compare) add({ column: about.id, model: asked.compare[1], minus: asked.compare[0] }, `${asked.compare[1]} − ${asked.compare[0]}`);
    }
    if (failed) out.push({ key: "failures", head: "failures", sort: { column: "sample/failures", model: "", minus: "" }, text: (row) => (failed.numbers?.[row] ? shown(failed.numbers[row]) : ""), numeric: true });
    return out;
  }, [about, values, labels, failed, asked.models.join("\n"), asked.compare?.join("\n")]);
}

const word = (values: Values | null | undefined, row: number): string => values?.words?.[(values.codes[row] ?? 0) - 1] ?? "";

function Grid({ asked, rows }: { asked: Asked; rows: Uint32Array }) {
  const explorer = useExplorer();
  const columns = useColumns(asked);
  const about = explorer.about(asked.measure);
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const [active, setActive] = useState(0);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const watch = new ResizeObserver(() => setHeight(element.clientHeight));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    setActive(0);
    if (box.current) box.current.scrollTop = 0;
  }, [rows]);
  const first = Math.max(0, Math.floor(top / ROW) - BEYOND);
  const last = Math.min(rows.length, Math.ceil((top + height) / ROW) + BEYOND);
  const open = (place: number): void => {
    const row = rows[place];
    if (row !== undefined) explorer.router.go("sample", { row: String(row) });
  };
  const move = (place: number): void => {
    const next = Math.min(rows.length - 1, Math.max(0, place));
    setActive(next);
    const element = box.current;
    if (!element) return;
    const head = (element.querySelector("thead")?.clientHeight ?? 0);
    if (next * ROW < element.scrollTop) element.scrollTop = next * ROW;
    else if ((next + 1) * ROW + head > element.scrollTop + element.clientHeight) element.scrollTop = (next + 1) * ROW + head - element.clientHeight;
  };
  const page = Math.max(1, Math.floor(height / ROW) - 1);
  const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length };
  return (
    <div
      class="xe-grid" ref={box} tabIndex={0} role="region" aria-label="Table of samples: arrow keys move, Enter opens"
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      onKeyDown={(event) => {
        if (event.target !== event.currentTarget) return;
        const step = steps[event.key];
        if (step !== undefined) {
          event.preventDefault();
          move(active + step);
        } else if (event.key === "Enter") open(active);
      }}
    >
      <table aria-rowcount={rows.length + 1}>
        <thead>
          <tr>
            <th scope="col">sample</th>
            {columns.map((column) => (
              <Head key={column.key} column={column} asked={asked} unit={column.numeric && about && column.key !== "failures" ? about.unit : ""} />
            ))}
          </tr>
        </thead>
        <tbody>
          {first > 0 && <tr aria-hidden="true" style={{ height: `${first * ROW}px` }} />}
          {Array.from({ length: Math.max(0, last - first) }, (_, i) => {
            const place = first + i;
            const row = rows[place] as number;
            return (
              <tr
                key={row} aria-rowindex={place + 2} class={place === active ? "xe-active" : undefined} style={{ height: `${ROW}px` }}
                onClick={() => {
                  setActive(place);
                  open(place);
                }}
              >
                <td>
                  <Name row={row} />
                </td>
                {columns.map((column) => (
                  <td key={column.key} class={column.numeric ? "num" : undefined}>
                    <bdi>{column.text(row)}</bdi>
                  </td>
                ))}
              </tr>
            );
          })}
          {last < rows.length && <tr aria-hidden="true" style={{ height: `${(rows.length - last) * ROW}px` }} />}
        </tbody>
      </table>
    </div>
  );
}

function Head({ column, asked, unit }: { column: Column; asked: Asked; unit: string }) {
  const { router, about } = { router: useExplorer().router, about: useExplorer().about(column.sort.column) };
  const text = formatMeasure(column.sort);
  const now = asked.sort === text ? (asked.falling ? "descending" : "ascending") : undefined;
  const turn = (): void => router.change({ sort: text, dir: now ? (asked.falling ? "asc" : "desc") : column.sort.minus || about?.better === "higher" ? "desc" : "asc" });
  return (
    <th scope="col" class={column.numeric ? "num" : undefined} aria-sort={now}>
      <button type="button" onClick={turn} title={about?.about}>
        {column.colour && <span class="xe-dot" style={{ background: column.colour }} />}
        <bdi>{column.head}</bdi>
        {unit && <small> {unit}</small>}
        <span aria-hidden="true">{now === "ascending" ? " ▲" : now === "descending" ? " ▼" : ""}</span>
      </button>
    </th>
  );
}

function Name({ row }: { row: number }) {
  const { parts, study, held } = useNames();
  const part = Math.floor(row / study.partRows);
  const { value } = useLoaded(`n${part}`, () => names(parts, part));
  const name = value?.names[row - part * study.partRows] ?? "…";
  return (
    <span class="xe-name">
      <Thumbnail row={row} />
      <a href={`#/sample?row=${row}`} title={value?.sources[row - part * study.partRows]} onClick={(event) => event.preventDefault()}>
        <bdi>{name}</bdi>
      </a>
      {!held(row) && <small title="Its images are not in the page's folder: xlli view shows every sample">not on disk</small>}
    </span>
  );
}

function useNames() {
  const explorer = useExplorer();
  return { parts: explorer.parts, study: explorer.study, held: (row: number) => explorer.held(row) };
}
