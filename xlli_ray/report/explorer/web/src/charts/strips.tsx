/** One dot a measurement, a strip a row, with the median, and a limit at which a measurement fails: `xlli_ray/plots/strips.py`. */
import type { Table } from "../csv";
import { shown } from "../format";
import { axis, ends } from "./axis";
import { columnsOf, Frame, Line, px, widthOf, Words } from "./frame";
import { type Drawn, type Hit, INK, type Kind, RULE } from "./kind";
import { markPath } from "./marks";
import type { StripsView } from "./views";

const PITCH = 30;
const LEAST = 240;
/** More dots than this are thinned to evenly spaced quantiles. */
const SWARM = 120;

export const strips: Kind<StripsView> = { legend: () => [], draw, table };

/** Of ascending values, linear between neighbours, as numpy's. */
export function quantile(values: readonly number[], share: number): number {
  const place = share * (values.length - 1);
  const first = Math.floor(place);
  const low = values[first] ?? NaN;
  return low + ((values[first + 1] ?? low) - low) * (place - first);
}

const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

function draw(view: StripsView, width: number): Drawn {
  const names = Math.min(Math.max(0, ...view.rows.map((row) => widthOf(row))) + 14, width * 0.38, 260);
  const { across, each } = columnsOf(view.panels.length, view.panels.length, width - names, LEAST);
  const pitch = PITCH * view.rows.length + 74;
  const hits: Hit[] = [];
  const content = view.panels.map((panel, i) => {
    const [column, top] = [i % across, Math.floor(i / across) * pitch + 26];
    const box = { left: names + column * each + 6, right: names + (column + 1) * each - 14, top, bottom: top + PITCH * view.rows.length };
    const all = ascending(panel.values.flat());
    const [low, high] = ends([quantile(all, 0.01), quantile(all, 0.99), 0, 1], false, 0.06);
    const x = axis(low, high, box.left, box.right);
    const at = (row: number): number => top + PITCH * (row + 0.5);
    const [from, to] = panel.below ? [low, panel.limit] : [panel.limit, high];
    const cut = (value: number): number => px(x.at(Math.min(high, Math.max(low, value))));
    return (
      <Frame key={i} box={box} title={panel.title} x={x} xlabel={panel.xlabel}>
        <rect x={cut(from)} y={box.top} width={Math.max(0, cut(to) - cut(from))} height={box.bottom - box.top} fill="#f3f4f6" />
        <Line x1={cut(panel.limit)} x2={cut(panel.limit)} y1={box.top} y2={box.bottom} colour={RULE} width={1.6} />
        {view.rows.map((row, k) => {
          const mine = ascending(panel.values[k] ?? []);
          const colour = view.colours[k] ?? INK;
          const name = column === 0 && <Words key={`n${k}`} x={names - 6} y={at(k) + 4} text={row} width={names - 8} anchor="end" />;
          if (!mine.length) return name;
          const bad = mine.filter((value) => (panel.below ? value < panel.limit : value >= panel.limit)).length;
          const failing = bad / mine.length > 0.5;
          const some = mine.length <= SWARM ? mine : Array.from({ length: SWARM }, (_, j) => quantile(mine, j / (SWARM - 1)));
          const median = quantile(mine, 0.5);
          hits.push({
            x: cut(median),
            y: at(k),
            head: row,
            lines: [
              panel.title,
              `median: ${shown(median)}`,
              `${bad} of ${mine.length} ${panel.below ? "below" : "at or above"} ${shown(panel.limit)}`,
            ],
            colour,
          });
          return (
            <g key={k}>
              {name}
              {some.map((value, j) => (
                // golden-ratio steps: jitter without random numbers, neighbours apart
                <path
                  key={j}
                  d={markPath(view.markers[k] ?? "o", 2.3)}
                  transform={`translate(${cut(value)} ${px(at(k) + (((j * 0.618034) % 1) - 0.5) * 0.5 * PITCH)})`}
                  fill={failing ? "none" : colour}
                  stroke={failing ? colour : "none"}
                  opacity={0.6}
                />
              ))}
              <Line x1={cut(median)} x2={cut(median)} y1={at(k) - 0.33 * PITCH} y2={at(k) + 0.33 * PITCH} colour={INK} width={2} />
            </g>
          );
        })}
      </Frame>
    );
  });
  return { height: Math.ceil(view.panels.length / across) * pitch, content, hits };
}

function table(view: StripsView): Table {
  const rows = view.panels.flatMap((panel) =>
    view.rows.flatMap((row, k) => (panel.values[k] ?? []).map((value) => [panel.title, row, panel.xlabel, value])),
  );
  return { head: ["panel", "row", "axis", "value"], rows };
}
