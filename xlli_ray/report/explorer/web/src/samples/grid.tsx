/** The rows of the table; only those in sight are in the document. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useExplorer, useLoaded } from "../explorer";
import { decimals, fixed, shown } from "../format";
import { names, type Values } from "../parts";
import { formatMeasure, measured, type Measure } from "../rows";
import { Thumbnail } from "../thumbnail";
import type { Asked } from "./asked";

const ROW = 56;
const BEYOND = 6;

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

export function Grid({ asked, rows }: { asked: Asked; rows: Uint32Array }) {
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
