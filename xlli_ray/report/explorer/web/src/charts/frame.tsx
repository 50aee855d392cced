/** The frame of a panel: title, grid, ticks, names of the axes; and the places of panels. */
import type { ComponentChildren } from "preact";
import { type Axis, type Tick } from "./axis";
import { INK, MUTED, RULE, GRID, SIZE } from "./kind";

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Rough width of a text in pixels: figures are laid out without measuring, so that the same view gives the same drawing. */
export const widthOf = (text: string, size = SIZE): number => text.length * size * 0.56;

/** `text` so that it fits into `width` pixels: names often differ at their ends, so the middle goes. */
export function cut(text: string, width: number, size = SIZE): string {
  const most = Math.max(1, Math.floor(width / (size * 0.56)));
  if (text.length <= most) return text;
  const last = Math.floor((most - 1) / 2);
  return `${text.slice(0, Math.max(1, most - 1 - last))}…${last ? text.slice(-last) : ""}`;
}

/** Left edges and width of `count` panels, `most` in a line, none narrower than `least`: on a phone one below the other. */
export function columnsOf(count: number, most: number, width: number, least: number): { across: number; each: number } {
  const across = Math.max(1, Math.min(count, most, Math.floor(width / least)));
  return { across, each: Math.min(width / across, 640) };
}

/** Text that is cut to fit; the whole is in its title. */
export function Words(props: {
  x: number;
  y: number;
  text: string;
  width: number;
  anchor?: string;
  colour?: string;
  bold?: boolean;
  turn?: number;
  size?: number;
}) {
  const size = props.size ?? SIZE;
  const text = cut(props.text, props.width, props.bold ? size * 1.08 : size);
  return (
    <text
      x={props.x}
      y={props.y}
      text-anchor={props.anchor ?? "start"}
      fill={props.colour ?? INK}
      font-size={size}
      font-weight={props.bold ? 600 : undefined}
      transform={props.turn ? `rotate(${props.turn} ${props.x} ${props.y})` : undefined}
    >
      {text}
      {text !== props.text && <title>{props.text}</title>}
    </text>
  );
}

interface FrameProps {
  box: Box;
  title?: string;
  x?: Axis;
  y?: Axis;
  xTicks?: readonly Tick[];
  yTicks?: readonly Tick[];
  xlabel?: string;
  ylabel?: string;
  /** Names of the x axis stand upright. */
  upright?: boolean;
  children?: ComponentChildren;
}

export function Frame({
  box,
  title,
  x,
  y,
  xTicks = x?.ticks ?? [],
  yTicks = y?.ticks ?? [],
  xlabel,
  ylabel,
  upright,
  children,
}: FrameProps) {
  const middle = (box.left + box.right) / 2;
  const across = box.right - box.left;
  return (
    <g>
      {title && <Words x={box.left} y={box.top - 9} text={title} width={across} bold />}
      {y &&
        yTicks.map((tick) => <Line key={`y${tick.at}`} x1={box.left} x2={box.right} y1={y.at(tick.at)} y2={y.at(tick.at)} colour={GRID} />)}
      {x &&
        xTicks.map((tick) => <Line key={`x${tick.at}`} x1={x.at(tick.at)} x2={x.at(tick.at)} y1={box.top} y2={box.bottom} colour={GRID} />)}
      <Line x1={box.left} x2={box.right} y1={box.bottom} y2={box.bottom} colour={RULE} />
      {y && <Line x1={box.left} x2={box.left} y1={box.top} y2={box.bottom} colour={RULE} />}
      {y &&
        yTicks.map((tick) => (
          <Words key={`t${tick.at}`} x={box.left - 6} y={y.at(tick.at) + 4} text={tick.text} width={90} anchor="end" colour={MUTED} />
        ))}
      {x &&
        apart(xTicks, x, upright).map((tick) =>
          upright ? (
            <Words
              key={`u${tick.at}`}
              x={x.at(tick.at) + 4}
              y={box.bottom + 7}
              text={tick.text}
              width={UPRIGHT}
              anchor="end"
              colour={MUTED}
              turn={-90}
            />
          ) : (
            <Words key={`u${tick.at}`} x={x.at(tick.at)} y={box.bottom + 16} text={tick.text} width={120} anchor="middle" colour={MUTED} />
          ),
        )}
      {xlabel && (
        <Words
          x={middle}
          y={box.bottom + 33 + (upright ? tallest(xTicks) - 12 : 0)}
          text={xlabel}
          width={across + 40}
          anchor="middle"
          colour={MUTED}
        />
      )}
      {ylabel && (
        <Words
          x={box.left - 13 - widest(yTicks)}
          y={(box.top + box.bottom) / 2}
          text={ylabel}
          width={box.bottom - box.top + 30}
          anchor="middle"
          colour={MUTED}
          turn={-90}
        />
      )}
      {children}
    </g>
  );
}

const UPRIGHT = 130;
export const widest = (ticks: readonly Tick[]): number => Math.max(8, ...ticks.map((tick) => Math.min(90, widthOf(tick.text))));
export const tallest = (ticks: readonly Tick[]): number => Math.max(16, ...ticks.map((tick) => Math.min(UPRIGHT, widthOf(tick.text)) + 8));

/** Ticks whose texts do not overlap. */
function apart(ticks: readonly Tick[], x: Axis, upright = false): Tick[] {
  const out: Tick[] = [];
  let end = -Infinity;
  for (const tick of [...ticks].sort((a, b) => x.at(a.at) - x.at(b.at))) {
    const half = upright ? SIZE / 2 : Math.min(120, widthOf(tick.text)) / 2 + 2;
    if (x.at(tick.at) - half < end) continue;
    end = x.at(tick.at) + half;
    out.push(tick);
  }
  return out;
}

export function Line(props: {
  x1: number;
  x2: number;
  y1: number;
  y2: number;
  colour: string;
  width?: number;
  opacity?: number;
  dash?: string;
}) {
  return (
    <line
      x1={px(props.x1)}
      x2={px(props.x2)}
      y1={px(props.y1)}
      y2={px(props.y2)}
      stroke={props.colour}
      stroke-width={props.width ?? 1}
      opacity={props.opacity}
      stroke-dasharray={props.dash}
    />
  );
}

export const px = (value: number): number => Math.round(value * 100) / 100;
