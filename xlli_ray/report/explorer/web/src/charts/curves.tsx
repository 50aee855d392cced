/** Curves against a numeric or categorical axis, with error bars or bands: `xlli_ray/plots/curves.py`. */
import { area, line } from "d3-shape";
import type { Table } from "../csv";
import { shown } from "../format";
import { type Axis, axis, endsOf, short, ticksOf, upright } from "./axis";
import { type Box, columnsOf, Frame, Line, px, tallest, widest } from "./frame";
import { type Drawn, type Entry, type Hit, type Kind, MUTED, PAPER, RULE } from "./kind";
import { dashes, markPath } from "./marks";
import { type AxisData, type CurveData, type CurvesView, num, nums } from "./views";

type Panel = CurvesView["panels"][number];
const LEAST = 290;
const HEIGHT = 200;

export const curves: Kind<CurvesView> = { legend, draw, table };

function legend(view: CurvesView): Entry[] {
  const all = view.panels.flatMap((panel) => panel.curves);
  return names(view).map((name) => {
    const found = all.find((one) => one.name === name) as CurveData;
    return { name, colour: found.colour, marker: found.marker, line: found.line };
  });
}

/** Names in the order of the legend. */
export function names(view: CurvesView): string[] {
  const there = new Set(view.panels.flatMap((panel) => panel.curves.map((one) => one.name)));
  return [...new Set([...view.order.filter((name) => there.has(name)), ...there])];
}

/** A curve with its points in order of x, shifted by `step`; `place`: indices in the data. */
export interface Sorted {
  x: number[];
  y: number[];
  low: number[];
  high: number[];
  floor: number[];
  hollow: boolean[];
  place: number[];
}

export function sortedCurve(curve: CurveData, step: number): Sorted {
  const x = nums(curve.x);
  const place = x.map((_, i) => i).sort((a, b) => (x[a] as number) - (x[b] as number) || a - b);
  const of = (values: readonly (number | null)[]): number[] => (values.length ? place.map((i) => num(values[i])) : []);
  return {
    x: place.map((i) => (x[i] as number) + step),
    y: of(curve.y),
    low: of(curve.low),
    high: of(curve.high),
    floor: of(curve.floor),
    hollow: place.map((i) => curve.hollow[i] ?? false),
    place,
  };
}

/** Shift of a curve to the side, so that error bars of several do not cover each other. */
export function stepOf(x: AxisData, order: readonly string[], name: string): number {
  const each = x.names.length
    ? 0.5 / Math.max(2, order.length - 1)
    : x.places.length
      ? 0.012 * ((x.places.at(-1) as number) - (x.places[0] as number))
      : 0;
  return each * (order.indexOf(name) - (order.length - 1) / 2);
}

const shared = (view: CurvesView, panel: Panel, side: "share_x" | "share_y", hidden: ReadonlySet<string>): CurveData[] =>
  (view[side] ? view.panels : [panel]).flatMap((one) => one.curves.filter((curve) => !hidden.has(curve.name)));

function axes(view: CurvesView, panel: Panel, box: Box, hidden: ReadonlySet<string>): { x: Axis; y: Axis } {
  const order = names(view);
  const xs = shared(view, panel, "share_x", hidden).flatMap((curve) =>
    view.apart ? nums(curve.x).map((value) => value + stepOf(panel.x, order, curve.name)) : nums(curve.x),
  );
  const ys = shared(view, panel, "share_y", hidden).flatMap((curve) => nums([...curve.y, ...curve.low, ...curve.high, ...curve.floor]));
  const x = endsOf(panel.x, [...xs, ...panel.rule], view.apart);
  const y = endsOf(panel.y, ys);
  return { x: axis(x[0], x[1], box.left, box.right, panel.x), y: axis(y[0], y[1], box.bottom, box.top, { ...panel.y, count: 5 }) };
}

function draw(view: CurvesView, width: number, hidden: ReadonlySet<string>): Drawn {
  const { across, each } = columnsOf(view.panels.length, view.columns, width, LEAST);
  const below = Math.max(16, ...view.panels.map((panel) => (upright(panel.x) ? tallest(ticksOf(panel.x, axis(0, 1, 0, 1))) : 16)));
  const pitch = HEIGHT + below + 62;
  const hits: Hit[] = [];
  const content = view.panels.map((panel, i) => {
    const [left, top] = [(i % across) * each, Math.floor(i / across) * pitch];
    const rough: Box = { left: left + 50, right: left + each - 14, top: top + 26, bottom: top + 26 + HEIGHT };
    const edge = widest(ticksOf(panel.y, axes(view, panel, rough, hidden).y));
    const box = { ...rough, left: left + edge + (panel.y.label ? 30 : 12) };
    const { x, y } = axes(view, panel, box, hidden);
    hits.push(...hitsOf(view, panel, x, y, hidden));
    return (
      <Frame
        key={i}
        box={box}
        title={panel.title}
        x={x}
        y={y}
        xTicks={ticksOf(panel.x, x)}
        yTicks={ticksOf(panel.y, y)}
        xlabel={panel.x.label}
        ylabel={panel.y.label}
        upright={upright(panel.x)}
      >
        {panel.rule.map((place) => (
          <Line key={`r${place}`} x1={x.at(place)} x2={x.at(place)} y1={box.top} y2={box.bottom} colour={RULE} width={1.6} />
        ))}
        {panel.curves
          .filter((curve) => !hidden.has(curve.name))
          .map((curve, k) => (
            <Drawing key={k} view={view} panel={panel} curve={curve} x={x} y={y} />
          ))}
      </Frame>
    );
  });
  return { height: Math.ceil(view.panels.length / across) * pitch + 4, content, hits };
}

/** Whether a value can be placed: a logarithmic axis has no zero. */
const on = (at: Axis, value: number): boolean => Number.isFinite(value) && (!at.log || value > 0);

function Drawing({ view, panel, curve, x, y }: { view: CurvesView; panel: Panel; curve: CurveData; x: Axis; y: Axis }) {
  const made = sortedCurve(curve, view.apart ? stepOf(panel.x, names(view), curve.name) : 0);
  const places = made.x.map((_, i) => i);
  const there = (i: number): boolean => on(x, made.x[i] as number) && on(y, made.y[i] as number);
  const [xs, ys] = [(i: number) => px(x.at(made.x[i] as number)), (value: number) => px(y.at(value))];
  const end = (values: number[], i: number): number => (Number.isFinite(values[i]) ? (values[i] as number) : (made.y[i] as number));
  const low = (i: number): number => (y.log ? Math.max(end(made.low, i), y.low) : end(made.low, i));
  const path = curve.line
    ? line<number>()
        .defined(there)
        .x(xs)
        .y((i) => ys(made.y[i] as number))(places)
    : null;
  const band =
    made.low.length && view.band
      ? area<number>()
          .defined(there)
          .x(xs)
          .y0((i) => ys(low(i)))
          .y1((i) => ys(end(made.high, i)))(places)
      : null;
  return (
    <g>
      {band && <path d={band} fill={curve.colour} opacity={0.15} />}
      {path && (
        <path d={path} fill="none" stroke={curve.colour} stroke-width={1.8} stroke-dasharray={dashes(curve.line)} stroke-linejoin="round" />
      )}
      {!view.band &&
        made.low.length > 0 &&
        places
          .filter((i) => there(i) && Number.isFinite(made.low[i]) && Number.isFinite(made.high[i]))
          .map((i) => (
            <Line
              key={`b${i}`}
              x1={xs(i)}
              x2={xs(i)}
              y1={ys(low(i))}
              y2={ys(made.high[i] as number)}
              colour={curve.colour}
              width={1.5}
              opacity={0.7}
            />
          ))}
      {places
        .filter((i) => made.floor.length && on(y, made.floor[i] as number))
        .map((i) => (
          <Line
            key={`f${i}`}
            x1={xs(i) - 5}
            x2={xs(i) + 5}
            y1={ys(made.floor[i] as number)}
            y2={ys(made.floor[i] as number)}
            colour={MUTED}
            width={1.4}
          />
        ))}
      {curve.marker &&
        places
          .filter(there)
          .map((i) => (
            <path
              key={i}
              d={markPath(curve.marker, 3.4)}
              transform={`translate(${xs(i)} ${ys(made.y[i] as number)})`}
              fill={made.hollow[i] ? PAPER : curve.colour}
              stroke={made.hollow[i] ? curve.colour : PAPER}
              stroke-width={made.hollow[i] ? 1.4 : 0.8}
            />
          ))}
    </g>
  );
}

function hitsOf(view: CurvesView, panel: Panel, x: Axis, y: Axis, hidden: ReadonlySet<string>): Hit[] {
  return panel.curves
    .filter((curve) => !hidden.has(curve.name))
    .flatMap((curve) => {
      const made = sortedCurve(curve, view.apart ? stepOf(panel.x, names(view), curve.name) : 0);
      return made.x.flatMap((at, i): Hit[] => {
        const value = made.y[i] as number;
        if (!on(x, at) || !on(y, value)) return [];
        const where = num(curve.x[made.place[i] as number]);
        const interval =
          Number.isFinite(made.low[i]) && Number.isFinite(made.high[i]) ? ` (${shown(made.low[i])} to ${shown(made.high[i])})` : "";
        const lines = [`${panel.x.label || "x"}: ${nameAt(panel.x, where)}`, `${panel.y.label || "y"}: ${shown(value)}${interval}`];
        if (Number.isFinite(made.floor[i])) lines.push(`expected without an effect: ${shown(made.floor[i])}`);
        return [{ x: x.at(at), y: y.at(value), head: curve.name, lines, colour: curve.colour }];
      });
    });
}

const nameAt = (about: AxisData, value: number): string => about.names[about.places.indexOf(value)] ?? short(value);

function table(view: CurvesView): Table {
  const rows = view.panels.flatMap((panel) =>
    panel.curves.flatMap((curve) =>
      curve.x.map((x, i) => [
        panel.title,
        curve.name,
        panel.x.label,
        panel.x.names.length ? nameAt(panel.x, num(x)) : x,
        panel.y.label,
        curve.y[i] ?? null,
        curve.low[i] ?? null,
        curve.high[i] ?? null,
        curve.floor[i] ?? null,
        curve.hollow.length ? String(curve.hollow[i]) : "",
      ]),
    ),
  );
  return { head: ["panel", "curve", "x axis", "x", "y axis", "y", "low", "high", "expected", "hollow"], rows };
}
