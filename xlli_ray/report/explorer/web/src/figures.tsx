/** The study's figures, one at a time: values where one points, lines that can be switched off, to be saved as SVG, PNG and CSV. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Chart } from "./charts/chart";
import { cut } from "./charts/frame";
import { KINDS } from "./charts/kinds";
import type { Entry } from "./charts/kind";
import { sheet, Swatch } from "./charts/sheet";
import { list, listed } from "./controls";
import { csv, type Table } from "./csv";
import type { FigureData, FigurePart } from "./data";
import { useExplorer, useLoaded } from "./explorer";
import { chosen, nameOf } from "./figure_names";
import { shown } from "./format";
import { figure } from "./parts";
import { fileName, png, save, saveText } from "./save";

export function Figures() {
  const { study, router } = useExplorer();
  const query = router.route.value.query;
  if (!study.figures.length) return <p>This study has no figures with data yet.</p>;
  const index = chosen(study.figures, query["figure"]);
  return (
    <section class="xe-figures" aria-label="Figures">
      <Contents index={index} />
      <One key={index} index={index} />
    </section>
  );
}

function Contents({ index }: { index: number }) {
  const { study, router } = useExplorer();
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    // only the list is scrolled, not the page
    const [list, one] = [box.current, box.current?.querySelector<HTMLElement>("[aria-current]")];
    if (list && one && (one.offsetTop < list.scrollTop || one.offsetTop + one.offsetHeight > list.scrollTop + list.clientHeight))
      list.scrollTop = one.offsetTop - list.clientHeight / 3;
  }, [index]);
  const sections = [...new Set(study.figures.map((one) => one.section))];
  return (
    <nav class="xe-contents" ref={box} aria-label="Figures of the study" tabIndex={0}>
      {sections.map((section) => (
        <div key={section}>
          <h4>
            <bdi>{section}</bdi>
          </h4>
          {study.figures.map(
            (one, i) =>
              one.section === section && (
                <a
                  key={i}
                  href={`#/figures?figure=${encodeURIComponent(nameOf(study.figures, i))}`}
                  aria-current={i === index ? "true" : undefined}
                  title={one.caption}
                  onClick={(event) => {
                    event.preventDefault();
                    router.go("figures", { figure: nameOf(study.figures, i) });
                  }}
                >
                  <bdi>{one.title || one.caption}</bdi>
                </a>
              ),
          )}
        </div>
      ))}
    </nav>
  );
}

function One({ index }: { index: number }) {
  const { study, parts, router } = useExplorer();
  const about = study.figures[index] as FigureData;
  const { value: view, error } = useLoaded(`figure-${index}`, () => figure(parts, index));
  const hide = router.route.value.query["hide"] ?? "";
  const hidden = useMemo(() => new Set(listed(hide)), [hide]);
  // in a notebook there is no page around
  const below = about.anchor && document.getElementById(about.anchor) ? about.anchor : "";
  return (
    <div class="xe-figure">
      {error && <p class="xe-error">{error}</p>}
      {view && (
        <h3>
          <bdi>{view.title}</bdi>
        </h3>
      )}
      {view &&
        (KINDS[view.kind] ? (
          <Drawn view={view} hidden={hidden} index={index} below={below} />
        ) : (
          <p>
            Drawn on the page below
            {below && (
              <>
                : <a href={`#${below}`}>go to it</a>
              </>
            )}
            .
          </p>
        ))}
      <p class="xe-caption">
        <bdi>{about.caption}</bdi>
      </p>
    </div>
  );
}

function Drawn({ view, hidden, index, below }: { view: FigurePart; hidden: ReadonlySet<string>; index: number; below: string }) {
  const { router, study } = useExplorer();
  const [failed, setFailed] = useState("");
  const kind = KINDS[view.kind];
  const table = useMemo(() => kind?.table(view), [kind, view]);
  if (!kind || !table) return null;
  const base = `${study.name} ${view.title}`;
  const image = async (): Promise<void> => {
    const made = sheet(kind, view, hidden);
    try {
      save(fileName(base, "png"), await png(made.svg, made.width, made.height));
      setFailed("");
    } catch (error) {
      setFailed(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <>
      <Legend entries={kind.legend(view)} hidden={hidden} />
      <Chart kind={kind} view={view} hidden={hidden} />
      <div class="xe-line">
        <span class="xe-quiet">Save as</span>
        <button type="button" onClick={() => saveText(fileName(base, "svg"), "image/svg+xml", sheet(kind, view, hidden).svg)}>
          SVG
        </button>
        <button type="button" onClick={() => void image()}>
          PNG
        </button>
        <button type="button" onClick={() => saveText(fileName(base, "csv"), "text/csv", csv(table))}>
          CSV
        </button>
        {below && <a href={`#${below}`}>the same on the page below</a>}
        {view.kind === "embedding" && (
          <button type="button" onClick={() => router.go("scatter", { cloud: `${nameOf(study.figures, index)}:0` })}>
            explore its points
          </button>
        )}
      </div>
      {failed && <p class="xe-error">{failed}</p>}
      <Numbers table={table} />
    </>
  );
}

/** Pixels of a name in the legend. */
const NAME = 420;

function Legend({ entries, hidden }: { entries: Entry[]; hidden: ReadonlySet<string> }) {
  const { router } = useExplorer();
  if (!entries.length) return null;
  const set = (names: string[]): void => router.change({ hide: list(names) });
  return (
    <div class="xe-line xe-legend" role="group" aria-label="Legend: switch lines off and on">
      {entries.map((entry) => (
        <button
          type="button"
          key={entry.name}
          class="xe-toggle"
          title={entry.name}
          aria-pressed={!hidden.has(entry.name)}
          onClick={() => set(hidden.has(entry.name) ? [...hidden].filter((name) => name !== entry.name) : [...hidden, entry.name])}
        >
          <svg class="xe-swatch" width={30} height={14} viewBox="-2 -7 30 14" aria-hidden="true">
            <Swatch entry={entry} />
          </svg>
          {entry.number && <b>{entry.number} </b>}
          <bdi>{cut(entry.name, NAME)}</bdi>
        </button>
      ))}
      {hidden.size > 0 && (
        <button type="button" onClick={() => set([])}>
          show all
        </button>
      )}
    </div>
  );
}

const LINES = 300;

function Numbers({ table }: { table: Table }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Numbers of this figure</summary>
      {open && (
        <div class="xe-numbers" tabIndex={0} role="region" aria-label="Numbers of this figure">
          <table>
            <thead>
              <tr>
                {table.head.map((name, i) => (
                  <th scope="col" key={i}>
                    <bdi>{name}</bdi>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {table.rows.slice(0, LINES).map((row, i) => (
                <tr key={i}>
                  {row.map((cell, k) => (
                    <td key={k} class={typeof cell === "number" ? "num" : undefined}>
                      {typeof cell === "number" ? shown(cell, 6) : <bdi>{cell ?? ""}</bdi>}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
          {table.rows.length > LINES && <p>{table.rows.length - LINES} further lines are in the CSV file.</p>}
        </div>
      )}
    </details>
  );
}
