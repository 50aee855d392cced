/** Dots with intervals, one line a row, panels side by side: `xlli_ray/plots/dots.py`. */
import type { Table } from "../csv";
import { shown } from "../format";
import { type Axis, axis, ends } from "./axis";
import { columnsOf, Frame, Line, px, widthOf, Words } from "./frame";
import { type Drawn, type Hit, INK, type Kind, MUTED, PAPER, SIZE } from "./kind";
import { markPath } from "./marks";
import { type DotsView, type IntervalData, num } from "./views";

type Panel = DotsView["panels"][number];
const PITCH = 22;
const LEAST = 180;
const NOTES = 0.12;

export const dots: Kind<DotsView> = { legend: () => [], draw, table };

/** Ends of the axis of each group of panels. */
export function limits(panels: readonly Panel[]): Map<string, [number, number]> {
  const out = new Map<string, [number, number]>();
  for (const share of new Set(panels.map((panel) => panel.share))) {
    const mine = panels.filter((panel) => panel.share === share);
    const values = mine.flatMap((panel) =>
      panel.values.flatMap((one) => (one ? [num(one.mean), num(one.low), num(one.high), panel.zero ? 0 : num(one.mean)] : [])),
    );
    const [low, high] = ends(values, false, 0.06);
    out.set(share, [low, mine.some((panel) => panel.notes.some(Boolean)) ? high + NOTES * (high - low) : high]);
  }
  return out;
}

function draw(view: DotsView, width: number): Drawn {
  const names = Math.min(Math.max(0, ...view.rows.map((row) => widthOf(row))) + 14, width * 0.38, 260);
  const { across, each } = columnsOf(view.panels.length, view.columns, width - names, LEAST);
  const pitch = PITCH * view.rows.length + 74;
  const scales = limits(view.panels);
  const hits: Hit[] = [];
  const content = view.panels.map((panel, i) => {
    const [column, top] = [i % across, Math.floor(i / across) * pitch + 26];
    const box = { left: names + column * each + 6, right: names + (column + 1) * each - 14, top, bottom: top + PITCH * view.rows.length };
    const [low, high] = scales.get(panel.share) as [number, number];
    const x = axis(low, high, box.left, box.right);
    const at = (row: number): number => top + PITCH * (row + 0.5);
    view.rows.forEach((row, k) => {
      const one = panel.values[k];
      if (one && Number.isFinite(num(one.mean)))
        hits.push({
          x: x.at(num(one.mean)),
          y: at(k),
          head: row,
          lines: [panel.title, `${panel.xlabel}: ${told(one)}`, counts(one)].filter(Boolean),
          colour: panel.colours[k] ?? INK,
        });
    });
    return (
      <Frame key={i} box={box} title={panel.title} x={x} xlabel={panel.xlabel}>
        {column === 0 && view.rows.map((row, k) => <Words key={k} x={names - 6} y={at(k) + 4} text={row} width={names - 8} anchor="end" />)}
        <Marks panel={panel} x={x} at={at} top={box.top} bottom={box.bottom} />
      </Frame>
    );
  });
  return { height: Math.ceil(view.panels.length / across) * pitch + 4, content, hits };
}

function Marks({ panel, x, at, top, bottom }: { panel: Panel; x: Axis; at: (row: number) => number; top: number; bottom: number }) {
  return (
    <>
      {panel.spans.map(
        (span, k) =>
          span && (
            <line
              key={`s${k}`}
              x1={px(x.at(span[0]))}
              x2={px(x.at(span[1]))}
              y1={at(k)}
              y2={at(k)}
              stroke="#eceef1"
              stroke-width={10}
              stroke-linecap="round"
            />
          ),
      )}
      {panel.zero && <Line x1={x.at(0)} x2={x.at(0)} y1={top} y2={bottom} colour={MUTED} />}
      {panel.values.map((one, k) => {
        const mean = num(one?.mean);
        if (!one || !Number.isFinite(mean)) return null;
        const [low, high, colour] = [num(one.low), num(one.high), panel.colours[k] ?? INK];
        const right = x.at(Number.isFinite(high) ? high : mean);
        return (
          <g key={k}>
            {Number.isFinite(low) && Number.isFinite(high) && (
              <Line x1={x.at(low)} x2={x.at(high)} y1={at(k)} y2={at(k)} colour={colour} width={2.2} opacity={0.75} />
            )}
            <path
              d={markPath(panel.markers[k] ?? "o", 3.9)}
              transform={`translate(${px(x.at(mean))} ${at(k)})`}
              fill={colour}
              stroke={PAPER}
              stroke-width={0.9}
            />
            {panel.notes[k] && <Words x={right + 7} y={at(k) + 4} text={panel.notes[k]} width={120} size={SIZE - 0.5} />}
          </g>
        );
      })}
    </>
  );
}

/** `31.2 (30.1 to 32.4)`. */
export function told(one: IntervalData): string {
  const ends =
    one.low !== null && one.high !== null ? ` (${shown(one.low)} to ${shown(one.high)})` : one.reason ? `, no interval: ${one.reason}` : "";
  return shown(one.mean) + ends;
}

const counts = (one: IntervalData): string =>
  one.photographs ? `${one.photographs} photographs${one.values ? `, ${one.values} values` : ""}` : "";

function table(view: DotsView): Table {
  const rows = view.panels.flatMap((panel) =>
    view.rows.map((row, k) => {
      const one = panel.values[k];
      return [
        panel.title,
        row,
        panel.xlabel,
        one?.mean ?? null,
        one?.low ?? null,
        one?.high ?? null,
        one?.photographs ?? null,
        one?.values ?? null,
        one?.reason ?? "",
        panel.notes[k] ?? "",
      ];
    }),
  );
  return { head: ["panel", "row", "axis", "mean", "low", "high", "photographs", "values", "reason", "note"], rows };
}
