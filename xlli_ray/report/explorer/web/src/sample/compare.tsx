/** Two images at one place: behind a slider, in turns, their difference, or one over the other. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Choice, type Option } from "../controls";
import { canvasOf, type Drawn, type Frame } from "./draw";
import { useExplorer } from "../explorer";
import type { Linked } from "./linked";
import { differencePixels } from "./paint";
import { Canvas, layersOf, PictureValue, Value } from "./panel";
import { differenceOf } from "./planes";
import type { Picture } from "./images";

export const MODES = ["slider", "blink", "difference", "overlay"] as const;
export type Mode = (typeof MODES)[number];
const TIMES = [1, 2, 4, 8, 16];
const BLINK = 700;

/** A share from the address. */
export function share(text: string | undefined, otherwise: number): number {
  const value = Number(text === undefined || text === "" ? NaN : text);
  return value >= 0 && value <= 1 ? value : otherwise;
}

const motionless = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function Compare(props: { linked: Linked; a: Picture; b: Picture; options: readonly Option[]; frames: readonly Frame[]; opacity: number }) {
  const { linked, a, b, frames, opacity } = props;
  const { router } = useExplorer();
  const query = router.route.value.query;
  const mode = MODES.find((one) => one === query["mode"]) ?? "slider";
  const at = share(query["at"], 0.5);
  const amount = share(query["amount"], 0.5);
  const times = TIMES.find((one) => String(one) === query["times"]) ?? 4;
  const [second, setSecond] = useState(false);
  const [playing, setPlaying] = useState(!motionless());
  useEffect(() => {
    if (mode !== "blink" || !playing) return undefined;
    const timer = setInterval(() => setSecond((now) => !now), BLINK);
    return () => clearInterval(timer);
  }, [mode, playing]);
  const difference = useMemo(() => (mode === "difference" ? differenceOf(a.plane, b.plane) : null), [mode, a.plane, b.plane]);
  const range = rangeOf(a, b);
  const pixels = useMemo(() => difference && differencePixels(difference, range, times), [difference, range, times]);
  const set = (fields: Record<string, string>): void => router.change(fields);
  const onto = (picture: Picture, more: Partial<Drawn>): Drawn[] => layersOf(picture, opacity).map((layer) => ({ ...layer, ...more, opacity: layer.opacity * (more.opacity ?? 1) }));
  const layers: Drawn[] =
    mode === "slider" ? [...onto(a, {}), ...onto(b, { from: at })]
    : mode === "blink" ? onto(second ? b : a, {})
    : mode === "overlay" ? [...onto(a, {}), ...onto(b, { opacity: amount })]
    : pixels ? [{ source: canvasOf(pixels), opacity: 1 }] : [];
  return (
    <section class="xe-compare" aria-label="Comparison of A and B">
      <div class="xe-line">
        <Choice label="A" value={a.panel.id} options={props.options} onChange={(value) => set({ a: value })} />
        <button type="button" onClick={() => set({ a: b.panel.id, b: a.panel.id })} aria-label="Exchange A and B">⇄</button>
        <Choice label="B" value={b.panel.id} options={props.options} onChange={(value) => set({ b: value })} />
        <Choice label="as" value={mode} options={MODES.map((one) => ({ value: one, text: one }))} onChange={(value) => set({ mode: value })} />
        {mode === "difference" && <Choice label="amplified" value={String(times)} options={TIMES.map((one) => ({ value: String(one), text: `×${one}` }))} onChange={(value) => set({ times: value })} />}
        {mode === "overlay" && (
          <label class="xe-choice">
            <span>B over A</span>
            <input type="range" min={0} max={100} value={Math.round(100 * amount)} onInput={(event) => set({ amount: String(event.currentTarget.valueAsNumber / 100) })} />
            <output>{Math.round(100 * amount)} %</output>
          </label>
        )}
        {mode === "blink" && (
          <>
            <button type="button" onClick={() => setPlaying(!playing)}>{playing ? "Stop" : "Play"}</button>
            <button type="button" onClick={() => { setPlaying(false); setSecond(!second); }}>Show {second ? "A" : "B"}</button>
            <span>
              now <b>{second ? "B" : "A"}</b>
            </span>
          </>
        )}
        <button type="button" onClick={() => set({ a: "", b: "", mode: "", at: "", amount: "", times: "" })}>Close</button>
      </div>
      <Canvas linked={linked} layers={layers} frames={frames} label={`${mode} of ${a.panel.title} and ${b.panel.title}`}>
        {mode === "slider" && <Divider at={at} set={(value) => set({ at: String(Math.round(1000 * value) / 1000) })} />}
        {(mode === "slider" || (mode === "blink" && !second)) && <span class="xe-tag xe-tag-a">A <bdi>{a.panel.title}</bdi></span>}
        {(mode === "slider" || (mode === "blink" && second)) && <span class="xe-tag xe-tag-b">B <bdi>{b.panel.title}</bdi></span>}
      </Canvas>
      <div class="xe-under">
        <span>A <PictureValue linked={linked} picture={a} /></span>
        <span>B <PictureValue linked={linked} picture={b} /></span>
        {difference && <span>B − A <Value linked={linked} plane={difference} role={a.panel.role} /></span>}
        {difference && <small>white: {Number((range / times).toPrecision(3))} or more</small>}
      </div>
    </section>
  );
}

/** What a difference of full brightness is, not amplified. */
function rangeOf(a: Picture, b: Picture): number {
  if (!a.scale || !b.scale) return 255;
  return Math.max(a.scale.high, b.scale.high);
}

/** The line between A and B: dragged, or moved with arrow keys. */
function Divider({ at, set }: { at: number; set: (at: number) => void }) {
  const handle = useRef<HTMLDivElement>(null);
  const limited = (value: number): void => set(Math.min(1, Math.max(0, value)));
  const steps: Record<string, number> = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
  const dragged = (event: PointerEvent): void => {
    const box = handle.current?.parentElement?.getBoundingClientRect();
    if (box) limited((event.clientX - box.left) / box.width);
  };
  return (
    <div
      ref={handle} class="xe-divider" role="slider" tabIndex={0} aria-label="Line between A and B" aria-orientation="horizontal"
      aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(100 * at)} aria-valuetext={`A left of ${Math.round(100 * at)} %, B right of it`}
      style={{ left: `${100 * at}%` }}
      onPointerDown={(event) => {
        event.stopPropagation();
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => event.currentTarget.hasPointerCapture(event.pointerId) && dragged(event)}
      onDblClick={(event) => event.stopPropagation()}
      onKeyDown={(event) => {
        const step = steps[event.key];
        if (step === undefined || event.altKey) return;
        event.preventDefault();
        event.stopPropagation();
        limited(at + step);
      }}
    >
      <span />
    </div>
  );
}
