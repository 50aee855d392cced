/** Histograms with fitted curves on a logarithmic density axis: `xlli_ray/plots/histograms.py`. */
import { line } from "d3-shape";
import type { Table } from "../csv";
import { shown } from "../format";
import { axis } from "./axis";
import { columnsOf, Frame, px, Words } from "./frame";
import { type Drawn, type Hit, INK, type Kind } from "./kind";
import { type HistogramsView, num } from "./views";

const LEAST = 250;
const HEIGHT = 140;

export const histograms: Kind<HistogramsView> = { legend: () => [], draw, table };

function draw(view: HistogramsView, width: number): Drawn {
  const panels = view.lines.flat();
  const columns = Math.max(...view.lines.map((one) => one.length));
  const seen = panels.flatMap((panel) => panel.density.map(num)).filter((value) => value > 0);
  const [low, high] = [Math.min(...seen) / 3, Math.max(...seen) * 10];
  const reach = Math.max(...panels.map((panel) => panel.reach));
  const { across, each } = columnsOf(columns, columns, width, LEAST);
  const pitch = HEIGHT + 76;
  const hits: Hit[] = [];
  // rows of the figure stay rows where they fit; else one panel after another
  const places =
    across === columns
      ? view.lines.flatMap((one, row) => one.map((panel, column) => ({ panel, row, column })))
      : panels.map((panel, i) => ({ panel, row: Math.floor(i / across), column: i % across }));
  const content = places.map(({ panel, row, column }, i) => {
    const [left, top] = [column * each, row * pitch];
    const box = { left: left + 64, right: left + each - 12, top: top + 26, bottom: top + 26 + HEIGHT };
    const x = axis(-reach, reach, box.left, box.right, { count: 4 });
    const y = axis(low, high, box.bottom, box.top, { log: true, count: 4 });
    const fit = panel.curve.map((value, k) => [(-1 + (2 * k) / Math.max(1, panel.curve.length - 1)) * panel.reach, num(value)] as const);
    const path = line<readonly [number, number]>()
      .defined(([, value]) => value >= low && value <= high)
      .x(([at]) => px(x.at(at)))
      .y(([, value]) => px(y.at(value)))(fit);
    const some = panel.density.map(num).flatMap((value, k) => (value > 0 ? [[num(panel.centres[k]), value] as const] : []));
    for (const [at, value] of some)
      hits.push({
        x: x.at(at),
        y: y.at(value),
        head: panel.title,
        lines: [`${view.xlabel}: ${shown(at)}`, `${view.ylabel}: ${shown(value)}`, panel.note].filter(Boolean),
        colour: panel.colour,
      });
    return (
      <Frame key={i} box={box} title={panel.title} x={x} y={y} xlabel={view.xlabel} ylabel={view.ylabel}>
        {some.map(([at, value], k) => (
          <circle key={k} cx={px(x.at(at))} cy={px(y.at(value))} r={1.9} fill={panel.colour} opacity={0.8} />
        ))}
        {path && <path d={path} fill="none" stroke={INK} stroke-width={1.3} />}
        <Words x={(box.left + box.right) / 2} y={box.top + 14} text={panel.note} width={box.right - box.left} anchor="middle" />
      </Frame>
    );
  });
  return { height: (Math.max(...places.map((one) => one.row)) + 1) * pitch, content, hits };
}

function table(view: HistogramsView): Table {
  const panels = view.lines.flat();
  const bins = panels.flatMap((panel) => panel.centres.map((at, k) => [panel.title, "histogram", at, panel.density[k] ?? null]));
  const fits = panels.flatMap((panel) =>
    panel.curve.map((value, k) => [panel.title, "fit", (-1 + (2 * k) / Math.max(1, panel.curve.length - 1)) * panel.reach, value]),
  );
  return { head: ["panel", "what", view.xlabel || "x", view.ylabel || "density"], rows: [...bins, ...fits] };
}
