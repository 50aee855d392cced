/** Points and thumbnails on a canvas: a small image for each look, copied to every point. */
import type { Box } from "../charts/frame";
import { markPath } from "../charts/marks";

export interface Look {
  colour: string;
  mark: string;
}

/** Size of the canvas, pixels of the screen for each of them, and the part that is painted. */
export interface Area {
  width: number;
  height: number;
  scale: number;
  box: Box;
}

/** What is painted. `order`: indices of the points, those on top last; `x`, `y` in pixels; `code` chooses the look. Points that are not `lit`
 * are faint. */
export interface Painted {
  order: Uint32Array;
  x: Float32Array;
  y: Float32Array;
  code: Uint16Array;
  looks: readonly Look[];
  /** 1 for each point inside the brush. */
  lit: Uint8Array | null;
}

/** Radius in pixels and opacity for this many points: more are smaller and fainter. */
export function sizeOf(count: number): { radius: number; alpha: number } {
  if (count <= 300) return { radius: 4.6, alpha: 0.9 };
  if (count <= 3_000) return { radius: 3.4, alpha: 0.8 };
  if (count <= 20_000) return { radius: 2.4, alpha: 0.6 };
  return { radius: 1.6, alpha: 0.4 };
}

function stamp(look: Look, radius: number, scale: number): HTMLCanvasElement {
  const side = Math.ceil(2 * (radius * 1.3 + 1) * scale);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  if (context) {
    context.translate(side / 2, side / 2);
    context.scale(scale, scale);
    const path = new Path2D(markPath(look.mark, radius));
    context.fillStyle = look.colour;
    context.fill(path);
    if (radius > 3) {
      context.strokeStyle = "#fff";
      context.lineWidth = 0.7;
      context.stroke(path);
    }
  }
  return canvas;
}

export function paintPoints(canvas: HTMLCanvasElement, area: Area, points: Painted): void {
  const context = cleared(canvas, area);
  if (!context) return;
  const { scale } = area;
  const { radius, alpha } = sizeOf(points.order.length);
  const stamps = points.looks.map((look) => stamp(look, radius, scale));
  const half = Math.ceil(2 * (radius * 1.3 + 1) * scale) / 2;
  const draw = (lit: boolean): void => {
    context.globalAlpha = lit ? alpha : alpha * 0.22;
    for (const i of points.order) {
      if (points.lit && (points.lit[i] === 1) !== lit) continue;
      context.drawImage(
        stamps[points.code[i] as number] as HTMLCanvasElement,
        (points.x[i] as number) * scale - half,
        (points.y[i] as number) * scale - half,
      );
    }
  };
  if (points.lit) draw(false);
  draw(true);
}

/** A thumbnail at each point, framed in its colour. `face`: the sheet of a point and where it is on it. */
export function paintFaces(
  canvas: HTMLCanvasElement,
  area: Area,
  points: Painted,
  side: number,
  face: (i: number) => { image: HTMLImageElement; x: number; y: number; from: number } | null,
): void {
  const context = cleared(canvas, area);
  if (!context) return;
  context.scale(area.scale, area.scale);
  for (const i of points.order) {
    const [left, top] = [(points.x[i] as number) - side / 2, (points.y[i] as number) - side / 2];
    context.globalAlpha = points.lit && !points.lit[i] ? 0.25 : 1;
    context.fillStyle = points.looks[points.code[i] as number]?.colour ?? "#888";
    context.fillRect(left - 2, top - 2, side + 4, side + 4);
    const found = face(i);
    if (found) context.drawImage(found.image, found.x, found.y, found.from, found.from, left, top, side, side);
  }
}

function cleared(canvas: HTMLCanvasElement, { width, height, scale, box }: Area): CanvasRenderingContext2D | null {
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  if (!context) return null;
  const edge = 6;
  context.beginPath();
  context.rect(
    (box.left - edge) * scale,
    (box.top - edge) * scale,
    (box.right - box.left + 2 * edge) * scale,
    (box.bottom - box.top + 2 * edge) * scale,
  );
  context.clip();
  return context;
}
