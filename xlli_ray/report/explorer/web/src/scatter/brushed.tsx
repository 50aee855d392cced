/** What was brushed: how many, by numbers, the first thumbnails, and where to go with them. */
import { useEffect, useState } from "preact/hooks";
import { useExplorer, useLoaded } from "../explorer";
import { counted } from "../format";
import { names } from "../parts";
import { Thumbnail } from "../thumbnail";
import { type Rectangle, rectangle } from "./points";

const MOST = 60;

export function Brushed({
  rows,
  count,
  brush,
  onBrush,
  onZoom,
}: {
  rows: Uint32Array;
  count: number;
  brush: Rectangle;
  onBrush: (brush: Rectangle | null) => void;
  onZoom: () => void;
}) {
  const { router } = useExplorer();
  return (
    <div class="xe-brushed">
      <p class="xe-line" aria-live="polite">
        <b>
          {counted(rows.length)} {rows.length === 1 ? "sample" : "samples"} brushed
        </b>
        {count !== rows.length && <span class="xe-quiet">{counted(count)} points</span>}
        <a
          href="#/samples"
          onClick={(event) => {
            event.preventDefault();
            router.go("samples");
          }}
        >
          show in table
        </a>
        <button type="button" onClick={onZoom}>
          Zoom in
        </button>
        <button type="button" onClick={() => onBrush(null)}>
          Clear
        </button>
      </p>
      <div class="xe-strip">
        {Array.from(rows.subarray(0, MOST), (row) => (
          <Face key={row} row={row} />
        ))}
        {rows.length > MOST && <span class="xe-quiet">and {counted(rows.length - MOST)} more</span>}
      </div>
      <Bounds brush={brush} onBrush={onBrush} />
    </div>
  );
}

function Face({ row }: { row: number }) {
  const { router, parts, study } = useExplorer();
  const part = Math.floor(row / study.partRows);
  const { value } = useLoaded(`n${part}`, () => names(parts, part));
  const name = value?.names[row - part * study.partRows] ?? `sample ${row}`;
  return (
    <button
      type="button"
      class="xe-face"
      title={name}
      aria-label={`open ${name.slice(0, 200)}`}
      onClick={() => router.go("sample", { row: String(row) })}
    >
      <Thumbnail row={row} />
    </button>
  );
}

/** The brush by keyboard: its four ends. */
export function Bounds({ brush, onBrush }: { brush: Rectangle | null; onBrush: (brush: Rectangle) => void }) {
  const text = (value: number | undefined): string => (value === undefined ? "" : String(Number(value.toPrecision(6))));
  const given = [brush?.x0, brush?.x1, brush?.y0, brush?.y1].map(text);
  const [fields, set] = useState(given);
  useEffect(() => set(given), [given.join()]);
  const heads = ["x from", "x to", "y from", "y to"];
  const numbers = fields.map((field) => (field.trim() === "" ? NaN : Number(field)));
  return (
    <form
      class="xe-line xe-ends"
      onSubmit={(event) => {
        event.preventDefault();
        if (numbers.every(Number.isFinite)) onBrush(rectangle(...(numbers as [number, number, number, number])));
      }}
    >
      {heads.map((head, i) => (
        <label class="xe-choice" key={head}>
          <span>{head}</span>
          <input
            type="text"
            inputMode="decimal"
            value={fields[i]}
            onInput={(event) => set(fields.map((field, k) => (k === i ? event.currentTarget.value : field)))}
          />
        </label>
      ))}
      <button type="submit" disabled={!numbers.every(Number.isFinite)}>
        Brush
      </button>
    </form>
  );
}
