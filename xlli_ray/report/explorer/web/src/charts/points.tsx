/** A few named points with intervals in both directions: `xlli_ray/plots/scatter.py`. */
import type { Table } from "../csv";
import { axis, ends } from "./axis";
import { told } from "./dots";
import { columnsOf, Frame, Line, px, widest, widthOf, Words } from "./frame";
import { type Drawn, type Entry, type Hit, type Kind, PAPER } from "./kind";
import { markPath } from "./marks";
import { num, type ScatterView } from "./views";

const LEAST = 290;
const HEIGHT = 230;
/** With more names than this, or several panels, points are numbered. */
const NAMED = 5;
/** Points that are nearer than this share of a panel's sides have one label together. */
const NEAR = 0.03;

export const points: Kind<ScatterView> = { legend, draw, table };

const names = (view: ScatterView): string[] => [...new Set(view.panels.flatMap((panel) => panel.points.map((point) => point.name)))];
const numbered = (view: ScatterView): boolean => names(view).length > NAMED || view.panels.length > 1;

function legend(view: ScatterView): Entry[] {
  const all = view.panels.flatMap((panel) => panel.points);
  return names(view).map((name, i) => {
    const found = all.find((point) => point.name === name);
    return {
      name,
      number: numbered(view) ? String(i + 1) : undefined,
      colour: found?.colour ?? "",
      marker: found?.marker ?? "o",
      line: "",
    };
  });
}

function draw(view: ScatterView, width: number, hidden: ReadonlySet<string>): Drawn {
  const { across, each } = columnsOf(view.panels.length, view.columns, width, LEAST);
  const pitch = HEIGHT + 80;
  const order = names(view);
  const hits: Hit[] = [];
  const content = view.panels.map((panel, i) => {
    const [left, top] = [(i % across) * each, Math.floor(i / across) * pitch];
    const shown = panel.points.filter((point) => !hidden.has(point.name));
    const side = (name: "x" | "y"): [number, number] =>
      ends(
        shown.flatMap((point) => [num(point[name].mean), num(point[name].low), num(point[name].high)]),
        false,
        0.1,
      );
    const rough = { left: left + 50, right: left + each - 14, top: top + 26, bottom: top + 26 + HEIGHT };
    const y = axis(...side("y"), rough.bottom, rough.top, { count: 5 });
    const box = { ...rough, left: left + widest(y.ticks) + 30 };
    const x = axis(...side("x"), box.left, box.right);
    for (const point of shown) {
      if (point.x.mean === null || point.y.mean === null) continue;
      hits.push({
        x: x.at(point.x.mean),
        y: y.at(point.y.mean),
        head: point.name,
        lines: [`${view.xlabel}: ${told(point.x)}`, `${view.ylabel}: ${told(point.y)}`],
        colour: point.colour,
      });
    }
    return (
      <Frame key={i} box={box} title={panel.title} x={x} y={y} xlabel={view.xlabel} ylabel={view.ylabel}>
        {shown
          .filter((point) => [point.x.low, point.x.high, point.y.low, point.y.high].every((end) => end !== null))
          .map((point, k) => (
            <g key={`i${k}`}>
              <Line
                x1={x.at(num(point.x.low))}
                x2={x.at(num(point.x.high))}
                y1={y.at(num(point.y.mean))}
                y2={y.at(num(point.y.mean))}
                colour={point.colour}
                width={1.3}
                opacity={0.5}
              />
              <Line
                x1={x.at(num(point.x.mean))}
                x2={x.at(num(point.x.mean))}
                y1={y.at(num(point.y.low))}
                y2={y.at(num(point.y.high))}
                colour={point.colour}
                width={1.3}
                opacity={0.5}
              />
            </g>
          ))}
        {shown
          .filter((point) => point.x.mean !== null && point.y.mean !== null)
          .map((point, k) => (
            <g key={k}>
              <path
                d={markPath(point.marker, 4.4)}
                transform={`translate(${px(x.at(num(point.x.mean)))} ${px(y.at(num(point.y.mean)))})`}
                fill={point.colour}
                stroke={PAPER}
              />
            </g>
          ))}
        {coinciding(
          shown.map((point) => ({
            name: numbered(view) ? String(order.indexOf(point.name) + 1) : point.name,
            x: x.at(num(point.x.mean)),
            y: y.at(num(point.y.mean)),
          })),
          NEAR * (box.right - box.left),
          NEAR * HEIGHT,
        ).map((group, k) => (
          <Label key={`n${k}`} x={group.x} y={group.y} text={group.names.join(", ")} right={box.right} />
        ))}
      </Frame>
    );
  });
  return { height: Math.ceil(view.panels.length / across) * pitch, content, hits };
}

/** Beside a point: on its left where there is no room on the right. */
function Label({ x, y, text, right }: { x: number; y: number; text: string; right: number }) {
  const left = x + 7 + widthOf(text) > right + 12;
  return <Words x={px(left ? x - 7 : x + 7)} y={px(y - 6)} text={text} width={220} anchor={left ? "end" : "start"} />;
}

/** Names of points that lie together, at the first of them; a point without a place has no name. */
export function coinciding(
  points: readonly { name: string; x: number; y: number }[],
  width: number,
  height: number,
): { names: string[]; x: number; y: number }[] {
  const groups: { names: string[]; x: number; y: number }[] = [];
  for (const { name, x, y } of points) {
    if (!Number.isFinite(x + y)) continue;
    const near = groups.find((group) => Math.abs(group.x - x) < width && Math.abs(group.y - y) < height);
    if (near) near.names.push(name);
    else groups.push({ names: [name], x, y });
  }
  return groups;
}

function table(view: ScatterView): Table {
  const rows = view.panels.flatMap((panel) =>
    panel.points.map((point) => [
      panel.title,
      point.name,
      point.x.mean,
      point.x.low,
      point.x.high,
      point.y.mean,
      point.y.low,
      point.y.high,
    ]),
  );
  return { head: ["panel", "name", view.xlabel, "x low", "x high", view.ylabel, "y low", "y high"], rows };
}
