/** Draws layers into a panel's canvas: the part that the view shows, pixels as squares where they are enlarged. */
import type { Pixels } from "./paint";
import { type Stage, toPanel, type View, visible } from "./viewport";

export interface Drawn {
  source: HTMLCanvasElement;
  opacity: number;
  /** Only right of this share of the panel. */
  from?: number;
}

/** In input pixels. */
export interface Frame {
  top: number;
  left: number;
  size: number;
  chosen: boolean;
  /** Being picked: dashed. */
  picked?: boolean;
}

const canvases = new WeakMap<Pixels, HTMLCanvasElement>();

/** Pixels as a source for drawing, made once. */
export function canvasOf(pixels: Pixels): HTMLCanvasElement {
  let canvas = canvases.get(pixels);
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.width = pixels.width;
    canvas.height = pixels.height;
    canvas.getContext("2d")?.putImageData(new ImageData(pixels.rgba, pixels.width, pixels.height), 0, 0);
    canvases.set(pixels, canvas);
  }
  return canvas;
}

/** `box`: CSS pixels of the canvas. */
export function draw(canvas: HTMLCanvasElement, box: { width: number; height: number }, stage: Stage, view: View, layers: readonly Drawn[], frames: readonly Frame[]): void {
  const dots = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(box.width * dots));
  const height = Math.max(1, Math.round(box.height * dots));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  const seen = visible(stage, view);
  const perPixel = width / seen.width;
  for (const { source, opacity, from } of layers) {
    context.save();
    if (from !== undefined) {
      context.beginPath();
      context.rect(from * width, 0, width, height);
      context.clip();
    }
    context.globalAlpha = opacity;
    drawLayer(context, source, stage, view, seen, perPixel);
    context.restore();
  }
  drawFrames(context, stage, view, frames, width, height, perPixel, dots);
}

/** Only the pixels that are seen: a canvas enlarged to its whole size may exceed what a browser can draw. */
function drawLayer(context: CanvasRenderingContext2D, source: HTMLCanvasElement, stage: Stage, view: View, seen: { width: number; height: number }, perPixel: number): void {
  const across = stage.sample.width / source.width;
  const down = stage.sample.height / source.height;
  const left = view.x - seen.width / 2;
  const top = view.y - seen.height / 2;
  const x0 = Math.max(0, Math.floor(left / across));
  const y0 = Math.max(0, Math.floor(top / down));
  const x1 = Math.min(source.width, Math.ceil((left + seen.width) / across));
  const y1 = Math.min(source.height, Math.ceil((top + seen.height) / down));
  if (x1 <= x0 || y1 <= y0) return;
  context.imageSmoothingEnabled = perPixel * across < 1;
  context.imageSmoothingQuality = "high";
  context.drawImage(source, x0, y0, x1 - x0, y1 - y0, (x0 * across - left) * perPixel, (y0 * down - top) * perPixel, (x1 - x0) * across * perPixel, (y1 - y0) * down * perPixel);
}

/** White around blue: seen on any image. */
function drawFrames(context: CanvasRenderingContext2D, stage: Stage, view: View, frames: readonly Frame[], width: number, height: number, perPixel: number, dots: number): void {
  for (const frame of [...frames].sort((a, b) => Number(a.chosen) - Number(b.chosen))) {
    const { u, v } = toPanel(stage, view, frame.left, frame.top);
    const strokes: [string, number][] = frame.chosen || frame.picked ? [["#fff", 4], [frame.picked ? "#D55E00" : "#0072B2", 2]] : [["#fff", 2], ["#3d4450", 1]];
    for (const [colour, line] of strokes) {
      context.strokeStyle = colour;
      context.lineWidth = line * dots;
      context.setLineDash(frame.picked && line === 2 ? [5 * dots, 3 * dots] : []);
      context.strokeRect(u * width, v * height, frame.size * perPixel, frame.size * perPixel);
    }
  }
  context.setLineDash([]);
}
