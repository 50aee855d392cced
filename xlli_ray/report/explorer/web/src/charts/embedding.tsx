/** Samples in two dimensions, a panel a cloud, colours by group: `xlli_ray/plots/embedding.py`. */
import type { Table } from "../csv";
import { Words } from "./frame";
import { type Drawn, type Entry, type Hit, type Kind, PAPER, RULE } from "./kind";
import type { CloudData, EmbeddingView } from "./views";

const LEAST = 190;

export const embedding: Kind<EmbeddingView> = { legend, draw, table };

function legend(view: EmbeddingView): Entry[] {
  return view.groups.map(({ name, colour }) => ({ name, colour, marker: "o", line: "" }));
}

export interface Place {
  line: number;
  column: number;
  title: string;
  cloud: CloudData;
}

/** The clouds in reading order, with their whole names. */
export function clouds(view: EmbeddingView): Place[] {
  return view.panels.flatMap((panels, line) =>
    panels.flatMap((cloud, column) =>
      cloud
        ? [
            {
              line,
              column,
              cloud,
              title: [view.lines[line], view.columns[column], cloud.title].filter(Boolean).join(" · ").replaceAll("\n", " "),
            },
          ]
        : [],
    ),
  );
}

/** From data to a square: the same scale on both axes where the cloud asks for it. */
export function placement(
  cloud: CloudData,
  left: number,
  top: number,
  side: number,
): { x: (value: number) => number; y: (value: number) => number } {
  const of = (values: readonly number[]): [number, number] =>
    values.reduce<[number, number]>(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [x, y] = [of(cloud.x), of(cloud.y)];
  const both = Math.max(x[1] - x[0], y[1] - y[0]);
  const scale = ([low, high]: [number, number]) => ({
    middle: (low + high) / 2,
    reach: Math.max(cloud.square ? both : high - low, 1e-12) * 0.54,
  });
  const [across, down] = [scale(x), scale(y)];
  return {
    x: (value) => left + side / 2 + ((value - across.middle) / across.reach) * (side / 2),
    y: (value) => top + side / 2 - ((value - down.middle) / down.reach) * (side / 2),
  };
}

function draw(view: EmbeddingView, width: number, hidden: ReadonlySet<string>): Drawn {
  const all = clouds(view);
  // lines of the figure stay lines where they fit; else one panel after another
  const whole = view.columns.length > 1 && width / view.columns.length >= LEAST;
  const across = whole ? view.columns.length : Math.max(1, Math.min(all.length, Math.floor(width / LEAST)));
  const each = Math.min(width / across, 420);
  const pitch = each + 40;
  const side = each - 12;
  const hits: Hit[] = [];
  const content = all.map(({ line, column, cloud, title }, i) => {
    const [left, top] = [(whole ? column : i % across) * each + 2, (whole ? line : Math.floor(i / across)) * pitch + 36];
    const at = placement(cloud, left, top, side);
    const radius = Math.min(3.6, Math.max(1.4, (0.13 * side) / Math.sqrt(cloud.x.length)));
    const order = Array.from(golden(cloud.x.length)).filter((k) => !hidden.has(view.groups[cloud.group[k] ?? 0]?.name ?? ""));
    const [head, ...rest] = title.split(" · ");
    for (const k of order) {
      const group = view.groups[cloud.group[k] ?? 0];
      hits.push({
        x: at.x(cloud.x[k] ?? 0),
        y: at.y(cloud.y[k] ?? 0),
        head: group?.name ?? "",
        lines: [title],
        colour: group?.colour ?? "",
        row: cloud.rows[k],
      });
    }
    return (
      <g key={i}>
        <Words x={left} y={top - 22} text={head ?? ""} width={side} bold />
        <Words x={left} y={top - 7} text={rest.join(" · ")} width={side} />
        <rect x={left} y={top} width={side} height={side} fill="none" stroke={RULE} />
        {order.map((k) => (
          <circle
            key={k}
            cx={round(at.x(cloud.x[k] ?? 0))}
            cy={round(at.y(cloud.y[k] ?? 0))}
            r={round(radius)}
            fill={view.groups[cloud.group[k] ?? 0]?.colour}
            stroke={PAPER}
            stroke-width={0.3}
            opacity={0.85}
          />
        ))}
      </g>
    );
  });
  const lines = whole ? view.lines.length : Math.ceil(all.length / across);
  return { height: lines * pitch, content, hits };
}

const round = (value: number): number => Math.round(value * 10) / 10;

/** Indices in an order that is independent of the groups, so that the last group does not hide the others. */
export function golden(count: number): Uint32Array {
  const share = (i: number): number => (i * 0.618034) % 1;
  return Uint32Array.from({ length: count }, (_, i) => i).sort((a, b) => share(a) - share(b));
}

function table(view: EmbeddingView): Table {
  const rows = clouds(view).flatMap(({ title, cloud }) =>
    cloud.x.map((x, k) => [title, cloud.rows[k] ?? null, view.groups[cloud.group[k] ?? 0]?.name ?? "", x, cloud.y[k] ?? null]),
  );
  return { head: ["panel", "row", "group", "x", "y"], rows };
}
