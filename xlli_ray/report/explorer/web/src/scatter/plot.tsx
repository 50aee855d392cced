/** The points on a canvas; above it axes, the brush and what the pointer means. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Axis, axis, ends } from "../charts/axis";
import { Tip, useWidth } from "../charts/chart";
import { golden } from "../charts/embedding";
import { type Box, Frame, Line, widest } from "../charts/frame";
import { type Hit, INK, MUTED } from "../charts/kind";
import { useExplorer, useLoaded } from "../explorer";
import { shown } from "../format";
import { names } from "../parts";
import { FACE, useFaces } from "./faces";
import { gridIndex } from "./grid_index";
import type { Loaded } from "./load";
import { paintFaces, paintPoints } from "./paint";
import { type Points, type Rectangle, rectangle } from "./points";

const REACH = 18;
/** A press that moves less than this is a click. */
const CLICK = 4;

interface PlotProps {
  loaded: Loaded;
  /** The points to draw, and the code of the look of each. */
  points: Points;
  code: Uint16Array;
  /** y = x is drawn, and both axes have the same ends. */
  comparable: boolean;
  brush: Rectangle | null;
  lit: Uint8Array | null;
  zoom: Rectangle | null;
  faces: boolean;
  onBrush: (brush: Rectangle | null) => void;
}

interface Scales {
  box: Box;
  x: Axis;
  y: Axis;
}

/** Where the plot and its axes are. `bare`: without ticks, as an embedding, whose numbers mean nothing. */
export function scalesOf(
  points: Points,
  width: number,
  height: number,
  how: { zoom: Rectangle | null; comparable: boolean; square: boolean; bare: boolean },
): Scales {
  let x = how.zoom ? ([how.zoom.x0, how.zoom.x1] as [number, number]) : ends(points.x);
  let y = how.zoom ? ([how.zoom.y0, how.zoom.y1] as [number, number]) : ends(points.y);
  if (how.comparable && !how.zoom) x = y = [Math.min(x[0], y[0]), Math.max(x[1], y[1])];
  const rough = axis(y[0], y[1], height - 44, 12);
  const box = how.bare
    ? { left: 10, right: width - 10, top: 10, bottom: height - 10 }
    : { left: widest(rough.ticks) + 32, right: width - 12, top: 12, bottom: height - 44 };
  if (how.square && !how.zoom) {
    // one scale on both axes: the shorter side sets it
    const each = Math.max((x[1] - x[0]) / (box.right - box.left), (y[1] - y[0]) / (box.bottom - box.top));
    const wide = (low: number, high: number, pixels: number): [number, number] => [
      (low + high) / 2 - (each * pixels) / 2,
      (low + high) / 2 + (each * pixels) / 2,
    ];
    x = wide(x[0], x[1], box.right - box.left);
    y = wide(y[0], y[1], box.bottom - box.top);
  }
  return { box, x: axis(x[0], x[1], box.left, box.right), y: axis(y[0], y[1], box.bottom, box.top) };
}

export function Plot(props: PlotProps) {
  const { loaded, points, code, brush, lit } = props;
  const { router } = useExplorer();
  const [frame, width] = useWidth();
  const height = Math.round(Math.min(560, Math.max(320, width * 0.62)));
  const canvas = useRef<HTMLCanvasElement>(null);
  const [at, setAt] = useState(-1);
  const [drag, setDrag] = useState<{ x0: number; y0: number; x1: number; y1: number } | null>(null);
  const bare = loaded.clouds.length > 0;
  const scales = useMemo(
    () => scalesOf(points, width || 600, height, { zoom: props.zoom, comparable: props.comparable, square: loaded.square, bare }),
    [points, width, height, props.zoom, props.comparable, loaded],
  );
  const { box, x, y } = scales;
  const placed = useMemo(() => ({ x: points.x.map((value) => x.at(value)), y: points.y.map((value) => y.at(value)) }), [points, scales]);
  const index = useMemo(() => gridIndex(placed.x, placed.y, width, height), [placed, width, height]);
  const order = useMemo(() => {
    const seen = (i: number): boolean =>
      placed.x[i]! >= box.left - 8 && placed.x[i]! <= box.right + 8 && placed.y[i]! >= box.top - 8 && placed.y[i]! <= box.bottom + 8;
    return golden(points.x.length).filter(seen);
  }, [placed]);
  const face = useFaces(props.faces ? points.row : null);
  useEffect(() => setAt(-1), [points]);
  useEffect(() => {
    if (!canvas.current || !width) return;
    const scale = Math.min(2, devicePixelRatio || 1);
    const drawn = { order, x: placed.x, y: placed.y, code, looks: loaded.colouring.looks, lit };
    if (props.faces) paintFaces(canvas.current, { width, height, scale, box }, drawn, FACE, (i) => face(points.row[i] as number));
    else paintPoints(canvas.current, { width, height, scale, box }, drawn);
  }, [order, placed, code, loaded, lit, width, height, props.faces, face]);
  const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));
  const where = (event: PointerEvent & { currentTarget: Element }): { px: number; py: number } => {
    const edge = event.currentTarget.getBoundingClientRect();
    return { px: clamp(event.clientX - edge.left, box.left, box.right), py: clamp(event.clientY - edge.top, box.top, box.bottom) };
  };
  const open = (i: number): void => {
    if (i >= 0) router.go("sample", { row: String(points.row[i]) });
  };
  const alongX = useMemo(() => Array.from(order).sort((a, b) => placed.x[a]! - placed.x[b]! || a - b), [order, placed]);
  const step = (by: number): void => {
    if (!alongX.length) return;
    const place = alongX.indexOf(at);
    setAt(alongX[place < 0 ? (by > 0 ? 0 : alongX.length - 1) : (place + by + alongX.length) % alongX.length] as number);
  };
  const drawn = drag ?? (brush && { x0: x.at(brush.x0), x1: x.at(brush.x1), y0: y.at(brush.y0), y1: y.at(brush.y1) });
  return (
    <div class="xe-paper" ref={frame}>
      {width > 0 && (
        <div
          class="xe-plot"
          tabIndex={0}
          role="group"
          aria-label={`Scatter of ${points.x.length} points: arrow keys go from point to point, Enter opens the sample`}
          style={{ width: `${width}px`, height: `${height}px` }}
          onPointerMove={(event) => {
            const { px, py } = where(event);
            if (drag) setDrag({ ...drag, x1: px, y1: py });
            else setAt(index.nearest(px, py, props.faces ? FACE : REACH));
          }}
          onPointerDown={(event) => {
            if (event.button !== 0) return;
            event.currentTarget.setPointerCapture(event.pointerId);
            const { px, py } = where(event);
            setDrag({ x0: px, y0: py, x1: px, y1: py });
            if (event.pointerType === "mouse") setAt(-1);
          }}
          onPointerUp={(event) => {
            if (!drag) return;
            setDrag(null);
            const { px, py } = where(event);
            if (Math.hypot(px - drag.x0, py - drag.y0) >= CLICK)
              return props.onBrush(rectangle(x.value(drag.x0), x.value(px), y.value(drag.y0), y.value(py)));
            const found = index.nearest(px, py, props.faces ? FACE : REACH);
            // a finger points first and opens with the second touch
            if (event.pointerType === "mouse" || found === at) open(found);
            else setAt(found);
          }}
          onPointerCancel={() => setDrag(null)}
          onPointerLeave={(event) => event.pointerType === "mouse" && !drag && setAt(-1)}
          onKeyDown={(event) => {
            if (event.key === "ArrowRight" || event.key === "ArrowDown") step(1);
            else if (event.key === "ArrowLeft" || event.key === "ArrowUp") step(-1);
            else if (event.key === "Enter") open(at);
            else if (event.key === "Escape") at >= 0 ? setAt(-1) : props.onBrush(null);
            else return;
            event.preventDefault();
          }}
        >
          <svg width={width} height={height} aria-hidden="true">
            <Frame
              box={box}
              x={x}
              y={y}
              xTicks={bare ? [] : x.ticks}
              yTicks={bare ? [] : y.ticks}
              xlabel={loaded.xlabel}
              ylabel={loaded.ylabel}
            >
              {props.comparable && <Diagonal scales={scales} />}
            </Frame>
          </svg>
          <canvas ref={canvas} style={{ width: `${width}px`, height: `${height}px` }} />
          <svg width={width} height={height} aria-hidden="true">
            {drawn && <Brush {...drawn} box={box} />}
            {at >= 0 && !drag && <circle cx={placed.x[at]} cy={placed.y[at]} r={9} fill="none" stroke={INK} stroke-width={1.6} />}
          </svg>
          {at >= 0 && !drag && <Pointed {...props} at={at} x={placed.x[at] as number} y={placed.y[at] as number} width={width} />}
        </div>
      )}
    </div>
  );
}

function Brush({ box, x0, x1, y0, y1 }: { box: Box; x0: number; x1: number; y0: number; y1: number }) {
  const [left, right] = [Math.max(box.left, Math.min(x0, x1)), Math.min(box.right, Math.max(x0, x1))];
  const [top, bottom] = [Math.max(box.top, Math.min(y0, y1)), Math.min(box.bottom, Math.max(y0, y1))];
  return <rect class="xe-brush" x={left} y={top} width={Math.max(0, right - left)} height={Math.max(0, bottom - top)} />;
}

function Diagonal({ scales: { x, y } }: { scales: Scales }) {
  const [low, high] = [Math.max(x.low, y.low), Math.min(x.high, y.high)];
  return low < high ? <Line x1={x.at(low)} x2={x.at(high)} y1={y.at(low)} y2={y.at(high)} colour={MUTED} dash="4 4" /> : null;
}

/** Name, thumbnail and values of a point. */
function Pointed({ loaded, points, code, at, x, y, width }: PlotProps & { at: number; x: number; y: number; width: number }) {
  const { parts, study } = useExplorer();
  const row = points.row[at] as number;
  const part = Math.floor(row / study.partRows);
  const { value } = useLoaded(`n${part}`, () => names(parts, part));
  const { colouring } = loaded;
  const look = colouring.looks[code[at] as number];
  const lines = loaded.clouds.length ? [] : [`${loaded.xlabel}: ${shown(points.x[at], 5)}`, `${loaded.ylabel}: ${shown(points.y[at], 5)}`];
  const word = colouring.names[code[at] as number];
  if (word !== undefined) lines.push(`${loaded.by}: ${word}`);
  else if (colouring.value) lines.push(`${loaded.by}: ${shown(colouring.value(row), 5)}`);
  const hit: Hit = { x, y, head: value?.names[row - part * study.partRows] ?? "…", lines, colour: look?.colour ?? "", row };
  return <Tip hit={hit} width={width} />;
}
