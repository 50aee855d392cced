/** Any two measures of the samples against each other, or an embedding; a rectangle drawn with the mouse chooses samples for the table. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { list, listed, Toggle } from "./controls";
import { csv } from "./csv";
import { type Explorer, useExplorer, useLoaded } from "./explorer";
import { counted, shown } from "./format";
import { fileName, png, save, saveText } from "./save";
import { type Asked, askedOf, axesOf, comparable } from "./scatter/asked";
import { Bounds, Brushed } from "./scatter/brushed";
import { MOST_FACES } from "./scatter/faces";
import { load, type Loaded } from "./scatter/load";
import { Tools } from "./scatter/tools";
import { plotSvg } from "./scatter/picture";
import { Plot } from "./scatter/plot";
import { filtered, formatRectangle, inside, type Points, type Rectangle, rowsOf } from "./scatter/points";
import { pointsTable } from "./tables";
import { ramp } from "./charts/colours";
import { Swatch } from "./charts/sheet";

/** What the scatter showed when it was left: a tab that is opened again is as it was. */
const left = new WeakMap<Explorer, Readonly<Record<string, string>>>();

export function Scatter() {
  const explorer = useExplorer();
  const { study, router } = explorer;
  const query = router.route.value.query;
  useEffect(() => {
    const before = left.get(explorer);
    if (before && !Object.keys(query).length) router.change(explorer.brushed.peek() ? before : { ...before, brush: "" });
  }, []);
  useEffect(() => void left.set(explorer, query), [query]);
  const asked = askedOf(study, query);
  const key = JSON.stringify([asked.cloud, asked.x, asked.y, asked.colour]);
  const { value: loaded, error } = useLoaded(key, () => load(explorer, asked));
  if (!axesOf(study).length && !asked.cloud) return <p>This study has no measured numbers of samples yet.</p>;
  return (
    <section class="xe-scatter" aria-label="Scatter">
      <Tools asked={asked} loaded={loaded} />
      {error && <p class="xe-error">{error}</p>}
      {loaded && <Seen key={key} asked={asked} loaded={loaded} />}
    </section>
  );
}

function Seen({ asked, loaded }: { asked: Asked; loaded: Loaded }) {
  const explorer = useExplorer();
  const { router, study } = explorer;
  const off = router.route.value.query["off"] ?? "";
  const hidden = useMemo(() => new Set(listed(off)), [off]);
  const { points, kept } = useMemo(
    () => filtered(loaded.points, (i) => !hidden.has(loaded.colouring.names[loaded.colouring.code[i] as number] ?? "")),
    [loaded, hidden],
  );
  const code = useMemo(() => Uint16Array.from(kept, (i) => loaded.colouring.code[i] as number), [kept]);
  const brush = asked.brush && formatRectangle(asked.brush);
  const lit = useMemo(() => (asked.brush ? inside(points, asked.brush) : null), [points, brush]);
  const rows = useMemo(() => (lit ? rowsOf(points, lit, study.rows) : new Uint32Array()), [lit]);
  useEffect(() => void (explorer.brushed.value = lit ? new Set(rows) : null), [lit]);
  const zoom = useMemo(() => asked.zoom, [asked.zoom && formatRectangle(asked.zoom)]);
  const set = (next: Rectangle | null): void => router.change({ brush: next ? formatRectangle(next) : "" });
  return (
    <>
      <Legend loaded={loaded} hidden={hidden} />
      <Plot
        loaded={loaded}
        points={points}
        code={code}
        comparable={comparable(asked)}
        brush={asked.brush}
        lit={lit}
        zoom={zoom}
        faces={asked.faces && points.x.length <= MOST_FACES}
        onBrush={set}
      />
      <p class="xe-line">
        <span class="xe-quiet">{counted(points.x.length)} points. Drag to brush, click to open.</span>
        <Toggle
          on={asked.faces && points.x.length <= MOST_FACES}
          title={
            points.x.length > MOST_FACES
              ? `for at most ${MOST_FACES} points; there are ${points.x.length}`
              : "thumbnails in place of points"
          }
          onClick={() => router.change({ faces: asked.faces ? "" : "1" })}
        >
          Thumbnails
        </Toggle>
        {asked.zoom && (
          <button type="button" onClick={() => router.change({ zoom: "" })}>
            Whole plot
          </button>
        )}
      </p>
      <Save loaded={loaded} points={points} code={code} hidden={hidden} />
      {asked.brush ? (
        <Brushed
          rows={rows}
          count={lit?.reduce((sum, one) => sum + one, 0) ?? 0}
          brush={asked.brush}
          onBrush={set}
          onZoom={() => router.change({ zoom: brush ?? "", brush: "" })}
        />
      ) : (
        <details>
          <summary>Brush by numbers</summary>
          <Bounds brush={null} onBrush={set} />
        </details>
      )}
    </>
  );
}

/** Files of what is drawn. */
function Save({ loaded, points, code, hidden }: { loaded: Loaded; points: Points; code: Uint16Array; hidden: ReadonlySet<string> }) {
  const explorer = useExplorer();
  const line = useRef<HTMLParagraphElement>(null);
  const [failed, setFailed] = useState("");
  const name = (ending: string): string => fileName(`${explorer.study.name} scatter`, ending);
  const drawn = (): ReturnType<typeof plotSvg> => {
    const { names, looks, scale } = loaded.colouring;
    const entries = names
      .map((one, i) => ({ name: one, colour: looks[i]?.colour ?? "", marker: looks[i]?.mark ?? "o", line: "" }))
      .filter((one) => !hidden.has(one.name));
    const ends = scale
      ? [
          [scale.low, 0],
          [scale.high, 1],
        ].map(([value, share]) => ({
          name: `${loaded.by} ${shown(value)}`,
          colour: ramp("cividis", share as number),
          marker: "o",
          line: "",
        }))
      : [];
    return plotSvg(line.current?.closest(".xe-scatter")?.querySelector(".xe-plot") as HTMLElement, [...entries, ...ends]);
  };
  const files: Record<string, () => Promise<void> | void> = {
    SVG: () => saveText(name("svg"), "image/svg+xml", drawn().svg),
    PNG: async () => {
      const { svg, width, height } = drawn();
      save(name("png"), await png(svg, width, height));
    },
    CSV: async () => saveText(name("csv"), "text/csv", csv(await pointsTable(explorer, points, loaded, code))),
  };
  const write = async (how: () => Promise<void> | void): Promise<void> => {
    try {
      await how();
      setFailed("");
    } catch (error) {
      setFailed(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <>
      <p class="xe-line" ref={line}>
        <span class="xe-quiet">Save as</span>
        {Object.entries(files).map(([kind, how]) => (
          <button type="button" key={kind} onClick={() => void write(how)}>
            {kind}
          </button>
        ))}
      </p>
      {failed && <p class="xe-error">{failed}</p>}
    </>
  );
}

function Legend({ loaded, hidden }: { loaded: Loaded; hidden: ReadonlySet<string> }) {
  const { router } = useExplorer();
  const { names, looks, scale } = loaded.colouring;
  if (scale) {
    return (
      <p class="xe-line">
        <span class="xe-quiet">
          <bdi>{loaded.by}</bdi>
        </span>{" "}
        {shown(scale.low)}
        <span
          class="xe-ramp"
          style={{ background: `linear-gradient(to right, ${Array.from({ length: 9 }, (_, i) => ramp("cividis", i / 8)).join(", ")})` }}
        />{" "}
        {shown(scale.high)}
      </p>
    );
  }
  if (!names.length) return null;
  return (
    <div class="xe-line xe-legend" role="group" aria-label={`Legend, ${loaded.by}: switch off and on`}>
      {names.map((name, i) => (
        <button
          type="button"
          key={name}
          class="xe-toggle"
          aria-pressed={!hidden.has(name)}
          onClick={() => router.change({ off: list(hidden.has(name) ? [...hidden].filter((one) => one !== name) : [...hidden, name]) })}
        >
          <svg class="xe-swatch" width={14} height={14} viewBox="6 -7 14 14" aria-hidden="true">
            <Swatch entry={{ name, colour: looks[i]?.colour ?? "", marker: looks[i]?.mark ?? "o", line: "" }} />
          </svg>
          <bdi>{name}</bdi>
        </button>
      ))}
    </div>
  );
}
