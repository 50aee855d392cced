/** One panel: an image at the common place and zoom, with the value under the cursor. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { lut, type Scale } from "./colour_maps";
import { canvasOf, draw, type Drawn, type Frame } from "./draw";
import { shown } from "../format";
import { type Gestures, useGestures } from "./gestures";
import { BlockValue, EffectLegend } from "./effects";
import type { Linked } from "./linked";
import { pixelAt, type Plane, valuesAt } from "./planes";
import type { Picture } from "./images";
import { EFFECT_ROLES, type Role } from "./panels";
import { toPanel } from "./viewport";

/** A canvas at the common place and zoom. */
export function Canvas(props: { linked: Linked; layers: readonly Drawn[]; frames: readonly Frame[]; label: string; on?: Partial<Gestures>; children?: ComponentChildren }) {
  const { linked, layers, frames } = props;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const view = linked.view.value;
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const measure = (): void => setSize((old) => (old.width === element.clientWidth && old.height === element.clientHeight ? old : { width: element.clientWidth, height: element.clientHeight }));
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    measure();
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (canvas.current && size.width) draw(canvas.current, size, linked.stage, view, layers, frames);
  });
  useGestures(box, {
    zoom: (factor, u, v) => linked.zoom(factor, u, v),
    pan: (du, dv) => void linked.pan(du, dv),
    reset: () => linked.reset(),
    point: (at) => linked.point(at),
    tap: () => undefined,
    ...props.on,
  });
  // One finger scrolls the page as long as there is nothing to pan.
  const touch = view.zoom > 1 || props.on?.draw ? "none" : "pan-y";
  return (
    <div class={`xe-canvas${props.on?.draw ? " xe-picking" : ""}`} ref={box} style={{ aspectRatio: String(linked.stage.aspect), "--aspect": String(linked.stage.aspect), touchAction: touch }}>
      <canvas ref={canvas} role="img" aria-label={props.label} />
      <CursorMark linked={linked} />
      {props.children}
    </div>
  );
}

function CursorMark({ linked }: { linked: Linked }) {
  const cursor = linked.cursor.value;
  if (!cursor) return null;
  const { u, v } = toPanel(linked.stage, linked.view.value, cursor.x, cursor.y);
  if (u < 0 || v < 0 || u > 1 || v > 1) return null;
  return <span class="xe-cursor" style={{ left: `${100 * u}%`, top: `${100 * v}%` }} />;
}

/** The value under the cursor, with the panel's own pixel. */
export function Value({ linked, plane, role }: { linked: Linked; plane: Plane; role: Role }) {
  const cursor = linked.cursor.value;
  const pixel = cursor && pixelAt(plane, linked.stage.sample, cursor.x, cursor.y);
  return (
    <span class="xe-value">
      {pixel ? (
        <>
          <b>{valueText(plane, pixel.row, pixel.column, role)}</b> <small>row {pixel.row}, col {pixel.column}</small>
        </>
      ) : (
        <small>
          {plane.width} × {plane.height}
        </small>
      )}
    </span>
  );
}

export function valueText(plane: Plane, row: number, column: number, role: Role): string {
  const values = valuesAt(plane, row, column);
  if (role === "image") return values.map((value) => (Number.isInteger(value) ? String(value).replace("-", "−") : shown(value))).join(" ");
  return (plane.step ? "≈ " : "") + values.map((value) => shown(value)).join(" ");
}

export interface PanelProps {
  linked: Linked;
  title: string;
  colour?: string;
  picture?: Picture;
  error?: string;
  frames: readonly Frame[];
  /** Of the uppermost layer of a map. */
  opacity: number;
  notes?: ComponentChildren;
  controls?: ComponentChildren;
  on?: Partial<Gestures>;
}

/** Of maps the uppermost layer is as opaque as the reader likes. */
const OVER: readonly Role[] = ["map", ...EFFECT_ROLES];

export const layersOf = (picture: Picture, opacity: number): Drawn[] =>
  picture.layers.map((pixels, i) => ({ source: canvasOf(pixels), opacity: OVER.includes(picture.panel.role) && i === picture.layers.length - 1 ? opacity : 1 }));

/** The value under the cursor of a picture. */
export const PictureValue = ({ linked, picture }: { linked: Linked; picture: Picture }) =>
  picture.blocks ? <BlockValue linked={linked} blocks={picture.blocks} /> : <Value linked={linked} plane={picture.plane} role={picture.panel.role} />;

export function PanelView(props: PanelProps) {
  const { linked, title, picture } = props;
  return (
    <figure class="xe-pane" data-panel={picture?.panel.id}>
      <figcaption>
        <span class="xe-title" title={title}>
          {props.colour && <span class="xe-dot" style={{ background: props.colour }} />}
          <bdi>{title}</bdi>
        </span>
        {props.controls}
      </figcaption>
      {picture ? (
        <Canvas linked={linked} layers={layersOf(picture, props.opacity)} frames={props.frames} label={title} on={props.on} />
      ) : (
        <div class="xe-canvas xe-none" style={{ aspectRatio: String(linked.stage.aspect) }}>
          {props.error ?? "…"}
        </div>
      )}
      <div class="xe-under">
        {picture && <PictureValue linked={linked} picture={picture} />}
        {picture?.scale && picture.panel.role !== "map" && picture.panel.role !== "verdicts" && <ScaleBar {...picture.scale} unit={picture.blocks ? "dB" : ""} />}
      </div>
      {picture?.blocks && <EffectLegend role={picture.panel.role} blocks={picture.blocks} />}
      {props.notes && <div class="xe-notes">{props.notes}</div>}
    </figure>
  );
}

function ScaleBar({ low, high, colours, unit = "" }: Pick<Scale, "low" | "high" | "colours"> & { unit?: string }) {
  const table = lut(colours);
  const stops = Array.from({ length: 9 }, (_, i) => {
    const at = 3 * Math.round((i / 8) * 255);
    return `rgb(${table[at]}, ${table[at + 1]}, ${table[at + 2]})`;
  });
  return (
    <span class="xe-scale">
      <small>{shown(low, 3)}</small>
      <span style={{ background: `linear-gradient(to right, ${stops.join(", ")})` }} />
      <small>{shown(high, 3)} {unit}</small>
    </span>
  );
}
