/** Coloured cells with numbers where they fit: `xlli_ray/plots/heat.py`, and pairs of `xlli_ray/plots/matrices.py`. */
import type { Table } from "../csv";
import { shown } from "../format";
import { axis, logTicks } from "./axis";
import { dark, ramp, type Ramp } from "./colours";
import { columnsOf, Line, px, widthOf, Words } from "./frame";
import { type Drawn, type Hit, INK, type Kind, MUTED, PAPER, SIZE } from "./kind";
import { type HeatView, type MatricesView, num } from "./views";

const ROW = 21;
const NAMES = 150;

export const heat: Kind<HeatView> = { legend: () => [], draw: drawHeat, table: heatTable };
export const matrices: Kind<MatricesView> = { legend: () => [], draw: drawMatrices, table: matricesTable };

interface Cells {
  left: number;
  top: number;
  cell: number;
  row: number;
  colour: (value: number) => string;
  text: (value: number, row: number, column: number) => string;
}

/** Grey where there is no value. */
function Grid({ values, at }: { values: number[][]; at: Cells }) {
  const widest = Math.max(
    ...values.flatMap((line, i) => line.map((value, k) => (Number.isFinite(value) ? widthOf(at.text(value, i, k), 10.5) : 0))),
  );
  return (
    <>
      {values.flatMap((line, i) =>
        line.map((value, k) => {
          if (!Number.isFinite(value)) return null;
          const [x, y, colour] = [px(at.left + k * at.cell), px(at.top + i * at.row), at.colour(value)];
          return (
            <g key={`${i}-${k}`}>
              <rect x={x} y={y} width={px(at.cell)} height={at.row} fill={colour} stroke={PAPER} stroke-width={0.8} />
              {widest <= at.cell && (
                <text x={px(x + at.cell / 2)} y={y + at.row / 2 + 4} text-anchor="middle" font-size={11} fill={dark(colour) ? PAPER : INK}>
                  {at.text(value, i, k)}
                </text>
              )}
            </g>
          );
        }),
      )}
    </>
  );
}

function Bar({
  x,
  top,
  height,
  name,
  low,
  high,
  log,
}: {
  x: number;
  top: number;
  height: number;
  name: Ramp;
  low: number;
  high: number;
  log?: boolean;
}) {
  const steps = 32;
  const scale = axis(log ? 10 ** low : low, log ? 10 ** high : high, top + height, top, { log, count: 4 });
  const ticks = log ? logTicks(10 ** low, 10 ** high, 4) : scale.ticks;
  return (
    <g>
      {Array.from({ length: steps }, (_, i) => (
        <rect
          key={i}
          x={x}
          y={px(top + (height * (steps - 1 - i)) / steps)}
          width={12}
          height={px(height / steps + 0.6)}
          fill={ramp(name, (i + 0.5) / steps)}
        />
      ))}
      {high > low &&
        ticks.map((tick) => (
          <g key={tick.at}>
            <Line x1={x + 12} x2={x + 16} y1={scale.at(tick.at)} y2={scale.at(tick.at)} colour={MUTED} />
            <Words x={x + 19} y={px(scale.at(tick.at)) + 4} text={tick.text} width={60} colour={MUTED} />
          </g>
        ))}
    </g>
  );
}

function drawHeat(view: HeatView, width: number): Drawn {
  const values = view.values.map((line) => line.map(num));
  const finite = values.flat().filter(Number.isFinite);
  let [low, high] = finite.length ? [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))] : [0, 1];
  if (view.diverging) {
    high = Math.max(Math.abs(low), Math.abs(high)) || 1;
    low = -high;
  }
  const name: Ramp = view.diverging ? "RdBu_r" : "cividis";
  const left = Math.min(2 * NAMES, width * 0.34, Math.max(...view.rows.map((row) => widthOf(row))) + 12);
  const cell = Math.min(64, (width - left - 64) / view.columns.length);
  const below = Math.min(NAMES, Math.max(...view.columns.map((column) => widthOf(column)))) + 14;
  const bottom = 8 + ROW * view.rows.length;
  const text = (value: number, i: number, k: number): string => {
    const number = `${view.diverging && value > 0 ? "+" : ""}${value.toFixed(view.digits).replace("-", "−")}`;
    return view.brackets[i]?.[k] ? `(${number})` : number;
  };
  const at: Cells = { left, top: 8, cell, row: ROW, text, colour: (value) => ramp(name, (value - low) / (high - low || 1)) };
  const hits = values.flatMap((line, i) =>
    line.flatMap((value, k): Hit[] =>
      Number.isFinite(value)
        ? [
            {
              x: left + (k + 0.5) * cell,
              y: 8 + (i + 0.5) * ROW,
              head: view.rows[i] ?? "",
              lines: [view.columns[k] ?? "", shown(value) + (view.brackets[i]?.[k] ? ", unreliable" : "")],
              colour: at.colour(value),
            },
          ]
        : [],
    ),
  );
  const every = Math.max(1, Math.ceil((SIZE + 1) / cell));
  const content = (
    <>
      <Grid values={values} at={at} />
      {view.rows.map((row, i) => (
        <Words key={`r${i}`} x={left - 6} y={8 + (i + 0.5) * ROW + 4} text={row} width={left - 8} anchor="end" />
      ))}
      {view.columns.map(
        (column, k) =>
          k % every === 0 && (
            <Words
              key={`c${k}`}
              x={px(left + (k + 0.5) * cell + 4)}
              y={bottom + 8}
              text={column}
              width={NAMES}
              anchor="end"
              turn={-90}
              colour={view.colours[k] ?? MUTED}
            />
          ),
      )}
      <Bar
        x={left + cell * view.columns.length + 12}
        top={8}
        height={Math.min(150, Math.max(60, bottom - 8))}
        name={name}
        low={low}
        high={high}
      />
    </>
  );
  return { height: Math.max(bottom, 70) + below, content, hits };
}

function drawMatrices(view: MatricesView, width: number): Drawn {
  const logs = view.panels.map((panel) => panel.values.map((line) => line.map((value) => Math.log10(num(value)))));
  const finite = logs.flat(2).filter(Number.isFinite);
  const [low, high] = [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))];
  const count = view.names.length - 1;
  const names = Math.min(110, Math.max(...view.names.map((one) => widthOf(one))) + 10);
  const { across, each } = columnsOf(view.panels.length, view.columns, width - 64, Math.max(220, names + 24 * count));
  const cell = Math.min(44, (each - names - 14) / count);
  const pitch = cell * count + names + 44;
  const hits: Hit[] = [];
  const content = logs.map((values, p) => {
    const [left, top] = [(p % across) * each + names, Math.floor(p / across) * pitch + 26];
    const at: Cells = {
      left,
      top,
      cell,
      row: cell,
      colour: (value) => ramp("cividis", (value - low) / (high - low || 1)),
      text: (value) => shown(10 ** value, 2),
    };
    values.forEach((line, i) =>
      line.forEach((value, k) => {
        if (Number.isFinite(value))
          hits.push({
            x: left + (k + 0.5) * cell,
            y: top + (i + 0.5) * cell,
            head: view.panels[p]?.title ?? "",
            lines: [`${view.names[i + 1]} and ${view.names[k]}: ${shown(10 ** value)}`],
            colour: at.colour(value),
          });
      }),
    );
    return (
      <g key={p}>
        <Words x={left} y={top - 9} text={view.panels[p]?.title ?? ""} width={each - names} bold />
        <Grid values={values} at={at} />
        {view.names.slice(1).map((one, i) => (
          <Words
            key={`r${i}`}
            x={left - 6}
            y={px(top + (i + 0.5) * cell + 4)}
            text={one}
            width={names - 8}
            anchor="end"
            colour={view.colours[i + 1]}
          />
        ))}
        {view.names.slice(0, -1).map((one, k) => (
          <Words
            key={`c${k}`}
            x={px(left + (k + 0.5) * cell + 4)}
            y={px(top + cell * count + 8)}
            text={one}
            width={names}
            anchor="end"
            turn={-90}
            colour={view.colours[k]}
          />
        ))}
      </g>
    );
  });
  const bar = (
    <Bar
      x={(across - 1) * each + names + cell * count + 14}
      top={26}
      height={Math.min(150, cell * count)}
      name="cividis"
      low={low}
      high={high}
      log
    />
  );
  return { height: Math.ceil(view.panels.length / across) * pitch, content: [...content, bar], hits };
}

function heatTable(view: HeatView): Table {
  const rows = view.rows.flatMap((row, i) =>
    view.columns.map((column, k) => [row, column, view.values[i]?.[k] ?? null, view.brackets[i]?.[k] ? "unreliable" : ""]),
  );
  return { head: ["row", "column", "value", "note"], rows };
}

function matricesTable(view: MatricesView): Table {
  const rows = view.panels.flatMap((panel) =>
    panel.values.flatMap((line, i) =>
      line.flatMap((value, k) => (value === null ? [] : [[panel.title, view.names[i + 1] ?? "", view.names[k] ?? "", value]])),
    ),
  );
  return { head: ["panel", "one", "other", "value"], rows };
}
