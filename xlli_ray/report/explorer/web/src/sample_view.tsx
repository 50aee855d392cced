/** One sample: input, target, outputs, errors, maps and features as panels at the same place and zoom. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import "./sample/sample.css";
import { Choice, list, listed, Toggle } from "./controls";
import { Compare, share } from "./sample/compare";
import type { SampleData } from "./data";
import type { Frame } from "./sample/draw";
import { useExplorer, useLoaded } from "./explorer";
import { counted, shown } from "./format";
import { EffectNumbers } from "./sample/effects";
import { Linked } from "./sample/linked";
import { PanelView } from "./sample/panel";
import { names, sample } from "./parts";
import { type Picture, SampleImages } from "./sample/images";
import { besidePanels, best } from "./sample/numbers";
import { arraysOf, chosen, EFFECT_ROLES, flat, framesOf, KIND_TITLES, type Kind, kindOf, kindsOf, type MapWindow, mapStages, modelsOf, type Panel, shownPanels } from "./sample/panels";
import { NotHeld, Problems, ValuesTable } from "./sample/values";
import { LamNumbers, WindowCalls, WindowList } from "./sample/windows";
import { Thumbnail } from "./thumbnail";
import { formatView, parseView, stageOf } from "./sample/viewport";
import { formatSquare, parseSquare, type Square, squareOf } from "./sample/window_calls";

export function SampleView() {
  const explorer = useExplorer();
  const { router, study } = explorer;
  const asked = router.route.value.query["row"];
  const row = /^\d{1,9}$/.test(asked ?? "") ? Number(asked) : NaN;
  const there = row < study.rows;
  const held = there && explorer.held(row);
  const { value, error } = useLoaded(`sample ${row} ${held}`, () => (held ? sample(explorer.parts, row) : Promise.resolve(null)));
  const part = Math.floor(row / study.partRows);
  const { value: named } = useLoaded(`names ${there ? part : "none"}`, () => (there ? names(explorer.parts, part) : Promise.resolve(null)));
  const root = useRef<HTMLElement>(null);
  const inPanels = useRef(false);
  useEffect(() => root.current?.focus({ preventScroll: true }), []);
  const order = explorer.order.value;
  const place = order.indexOf(row);
  const at = (step: number): number | undefined => (place < 0 ? (row + step >= 0 && row + step < study.rows ? row + step : undefined) : order[place + step]);
  const go = (step: number): void => {
    const next = at(step);
    if (next === undefined) return;
    inPanels.current = !!root.current?.querySelector(".xe-panels")?.contains(document.activeElement);
    root.current?.focus({ preventScroll: true });
    router.go("sample", { ...router.route.peek().query, row: String(next), pick: "" });
  };
  const keys: Record<string, number> = { j: 1, k: -1 };
  const altKeys: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };
  if (!there) return <p class="xe-error">There is no sample {asked ?? ""}: choose one in the table of samples.</p>;
  const own = row - part * study.partRows;
  return (
    <section
      class="xe-sample" ref={root} tabIndex={-1} aria-label="Sample"
      onKeyDown={(event) => {
        const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
        const step = event.altKey ? altKeys[event.key] : typing || event.ctrlKey || event.metaKey ? undefined : keys[event.key.toLowerCase()];
        if (step === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        go(step);
      }}
    >
      <div class="xe-line xe-head">
        <button type="button" onClick={() => router.go("samples")}>‹ All samples</button>
        <button type="button" disabled={at(-1) === undefined} title="K, Alt + ↑" onClick={() => go(-1)}>‹ Previous</button>
        <button type="button" disabled={at(1) === undefined} title="J, Alt + ↓" onClick={() => go(1)}>Next ›</button>
        <Thumbnail row={row} size={32} />
        <h3 title={named?.sources[own]}>
          <bdi>{named?.names[own] ?? "…"}</bdi>
        </h3>
        <Label row={row} />
        <small class="xe-count">
          {place < 0 ? `row ${counted(row)} of ${counted(study.rows)}` : `${counted(place + 1)} of ${counted(order.length)} in the table's order`} · id <code>{named?.ids[own] ?? ""}</code>
        </small>
      </div>
      <Problems failures={named?.failures.filter((one) => one.row === row) ?? []} missing={value?.missing ?? []} />
      {error && <p class="xe-error">{error}</p>}
      {!held && <NotHeld row={row} />}
      {value && <Held key={row} sample={value} source={named?.sources[own] ?? ""} focused={inPanels.current} />}
    </section>
  );
}

function Label({ row }: { row: number }) {
  const explorer = useExplorer();
  const { study } = explorer;
  const { value } = useLoaded("sample/label", () => (study.labels.length > 1 ? explorer.values("sample/label") : Promise.resolve(null)));
  const label = value?.words?.[(value.codes[row] ?? 0) - 1];
  if (!label) return null;
  return (
    <span class="xe-label">
      <span class="xe-dot" style={{ background: study.labels.find((one) => one.label === label)?.colour }} />
      <bdi>{label}</bdi>
    </span>
  );
}

/** Kinds of panels with a map over the image. */
const OVERLAID: readonly Kind[] = ["maps", ...EFFECT_ROLES];

/** `focused`: the keyboard was in the panels of the sample before. */
function Held({ sample, source, focused }: { sample: SampleData; source: string; focused: boolean }) {
  const explorer = useExplorer();
  const { router, study } = explorer;
  const query = router.route.value.query;
  const images = useMemo(() => new SampleImages(sample, explorer), [sample]);
  const linked = useMemo(() => {
    const stage = stageOf(sample, images.finest);
    return new Linked(stage, parseView(stage, router.route.peek().query["view"]));
  }, [sample]);
  useAddress(linked);
  const grid = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (focused) grid.current?.focus({ preventScroll: true });
  }, []);
  const [picking, setPicking] = useState(false);
  const [draft, setDraft] = useState<Square | null>(null);
  const [loads, setLoads] = useState(0);
  const arrays = useMemo(() => arraysOf(study, sample), [sample]);
  const places = (key: string): readonly (readonly number[])[] => images.places(key);
  const choice = chosen(study, sample, arrays, {
    kinds: listed(query["kinds"]), models: listed(query["models"]), stage: query["stage"] ?? "", window: parseSquare(query["window"]), frame: query["frame"] ?? "",
    features: listed(query["features"]),
  });
  const panels = shownPanels(arrays, choice, places);
  const pictures = usePictures(images, panels, `${sample.row} ${loads}`);
  const pick = parseSquare(query["pick"]);
  const networks = choice.models.length ? choice.models : study.models.map((one) => one.id);
  const scale = choice.window?.scale ?? study.models.find((one) => networks.includes(one.id))?.scale ?? 1;
  const output = { height: sample.height * scale, width: sample.width * scale };
  const framed = query["frames"] !== "no";
  const frames: Frame[] = [
    ...(framed ? (choice.stage?.windows ?? []) : []).map((one) => ({ top: one.top / one.scale, left: one.left / one.scale, size: one.size / one.scale, chosen: one === choice.window })),
    ...[draft ?? pick].flatMap((one) => (one ? [{ top: one.top / scale, left: one.left / scale, size: one.size / scale, chosen: false, picked: true }] : [])),
  ];
  const opacity = share(query["red"], 1);
  const set = (fields: Record<string, string>): void => router.change(fields);
  const choose = (window: MapWindow): void => router.change({ window: formatSquare(window) }, "push");
  const tap = (u: number, v: number): void => {
    const { x, y } = linked.at(u, v);
    const hit = (choice.stage?.windows ?? [])
      .filter((one) => x * one.scale >= one.left && y * one.scale >= one.top && x * one.scale < one.left + one.size && y * one.scale < one.top + one.size)
      .sort((a, b) => a.size - b.size)[0];
    if (hit) choose(hit);
  };
  const drawn = (from: { u: number; v: number }, to: { u: number; v: number }, done: boolean): void => {
    const [a, b] = [linked.at(from.u, from.v), linked.at(to.u, to.v)];
    const square = squareOf({ x: a.x * scale, y: a.y * scale }, { x: b.x * scale, y: b.y * scale }, output);
    setDraft(done ? null : square);
    if (!done) return;
    setPicking(false);
    set({ pick: formatSquare(square) });
  };
  const on = picking ? { tap, draw: drawn } : { tap };
  const a = pictures.find((one) => one.panel.id === query["a"])?.picture;
  const b = pictures.find((one) => one.panel.id === query["b"])?.picture;
  const measures = besidePanels(study.columns, sample.values);
  const alike = pictures.filter((one) => one.picture && (!a || one.panel.role === a.panel.role));
  const compared = (which: "a" | "b", panel: Panel): void => {
    const other = panels.find((one) => one.id === query[which === "a" ? "b" : "a"]);
    set(query[which] === panel.id ? { [which]: "" } : { [which]: panel.id, ...(other && other.role !== panel.role ? { [which === "a" ? "b" : "a"]: "" } : {}) });
  };
  return (
    <>
      <Chips arrays={arrays} choice={choice} />
      <div class="xe-line">
        <span class="xe-buttons">
          <button type="button" aria-label="Zoom out" onClick={() => linked.zoom(1 / 1.5)}>−</button>
          <button type="button" aria-label="Zoom in" onClick={() => linked.zoom(1.5)}>+</button>
          <button type="button" onClick={() => linked.reset()}>Whole image</button>
        </span>
        {study.command && <Toggle on={picking} title="Drag a square on a panel: its recipe lines and calls are shown" onClick={() => setPicking(!picking)}>Pick a window</Toggle>}
        {choice.stage && <Toggle on={framed} onClick={() => set({ frames: framed ? "no" : "" })}>Windows framed</Toggle>}
        {OVERLAID.some((kind) => choice.kinds.includes(kind)) && (
          <label class="xe-choice">
            <span>Opacity of maps</span>
            <input type="range" min={0} max={100} value={Math.round(100 * opacity)} onInput={(event) => set({ red: event.currentTarget.valueAsNumber === 100 ? "" : String(event.currentTarget.valueAsNumber / 100) })} />
          </label>
        )}
        {mapStages(sample).length > 1 && <Choice label="Windows of" value={choice.stage?.id ?? ""} options={mapStages(sample).map((one) => ({ value: one.id, text: one.id }))} onChange={(value) => set({ stage: value, window: "" })} />}
        {framesOf(arrays, places).length > 1 && <Choice label="Frame of maps" value={String(choice.frame ?? "")} options={framesOf(arrays, places).map((one) => ({ value: String(one), text: String(one) }))} onChange={(value) => set({ frame: value })} />}
        <Position linked={linked} />
      </div>
      {pick && study.command && (
        <WindowCalls
          picked={{ id: sample.id, source, window: pick, ...output, models: networks, outputs: arrays.some((one) => kindOf(one) === "outputs"), probe: choice.stage?.effects ? "cem" : "lam" }}
          change={(window) => set({ pick: formatSquare(window) })} close={() => set({ pick: "" })}
        />
      )}
      <div
        class="xe-panels" ref={grid} tabIndex={0} role="group" aria-label="Panels at the same place: arrow keys move, + and − zoom, 0 shows the whole image"
        onKeyDown={(event) => {
          if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
          if (linked.key(event)) {
            event.preventDefault();
            event.stopPropagation();
          }
        }}
        onBlur={(event) => event.target === event.currentTarget && linked.byKeys.peek() && linked.point(null)}
      >
        {a && b && a.panel.role === b.panel.role && <Compare linked={linked} a={a} b={b} frames={frames} opacity={opacity} options={alike.map((one) => ({ value: one.panel.id, text: one.panel.title }))} />}
        {pictures.map(({ panel, picture, error }) => (
          <PanelView
            key={panel.slot} linked={linked} title={panel.title} colour={study.models.find((one) => one.id === panel.model)?.colour} picture={picture} error={error}
            frames={frames} opacity={opacity} on={on}
            controls={picture && (
              <span class="xe-ab">
                {(["a", "b"] as const).map((which) => (
                  <button type="button" key={which} aria-pressed={query[which] === panel.id} title={`Compare: this is ${which.toUpperCase()}`} aria-label={`${panel.title} as ${which.toUpperCase()}`} onClick={() => compared(which, panel)}>
                    {which.toUpperCase()}
                  </button>
                ))}
              </span>
            )}
            notes={
              <>
                {panel.kind === "outputs" && measures.map((column) => {
                  const of = sample.values[column.id] ?? {};
                  if (typeof of[panel.model] !== "number") return null;
                  const wins = best(column, of).has(panel.model);
                  return (
                    <span key={column.id} class={wins ? "xe-best" : undefined} title={column.about}>
                      {column.name} {shown(of[panel.model] as number)} {column.unit}{wins && " (best)"}
                    </span>
                  );
                })}
                {panel.kind === "maps" && <span>DI <LamNumbers values={choice.maps?.window?.of.get(panel.model)?.values} /></span>}
                {panel.kind === "effects" && <span><EffectNumbers values={choice.effects?.window?.of.get(panel.model)?.values} blocks={picture?.blocks} /></span>}
                {picture && <FrameNote picture={picture} dims={arrays.find((one) => one.key === panel.key)?.dims ?? []} />}
                {panel.kind === "features" && <FeatureChoice images={images} arrays={arrays.filter((one) => kindOf(one) === "features")} choice={choice} panel={panel} loaded={() => setLoads(loads + 1)} />}
              </>
            }
          />
        ))}
      </div>
      {choice.stage && (
        <>
          <h4>Windows of {choice.stage.id}</h4>
          <WindowList stage={choice.stage} models={choice.models} chosen={choice.window} choose={choose} />
        </>
      )}
      <h4>Values</h4>
      <ValuesTable values={sample.values} />
    </>
  );
}

/** The view and the address say the same: written when it rests, read when the reader goes back. */
function useAddress(linked: Linked): void {
  const { router } = useExplorer();
  const view = linked.view.value;
  const text = router.route.value.query["view"] ?? "";
  const written = useRef(text);
  useEffect(() => {
    if (text !== written.current) {
      written.current = text;
      linked.set(parseView(linked.stage, text));
    }
  }, [text]);
  useEffect(() => {
    const now = formatView(view);
    if (now === written.current) return undefined;
    const timer = setTimeout(() => {
      written.current = now;
      if (router.route.peek().tab === "sample") router.change({ view: now });
    }, 200);
    return () => clearTimeout(timer);
  }, [view]);
}

interface Loaded {
  panel: Panel;
  picture?: Picture;
  error?: string;
}

/** Pictures of panels as they arrive; one that is there already is not made again, and until another has arrived it stays. */
function usePictures(images: SampleImages, panels: readonly Panel[], version: string): Loaded[] {
  const key = (panel: Panel): string => `${version} ${panel.id} ${panel.plane} ${panel.blocks?.end ?? ""} ${panel.role === "error" ? panels.filter((one) => one.role === "error").map((one) => one.key).join(" ") : ""}`;
  const [made, setMade] = useState<ReadonlyMap<string, Loaded>>(new Map());
  useEffect(() => {
    let current = true;
    const errors = panels.filter((one) => one.role === "error").map((one) => one.key);
    for (const panel of panels) {
      if (made.has(key(panel))) continue;
      images.picture(panel, errors).then(
        (picture) => current && setMade((old) => new Map([...old].slice(-40)).set(key(panel), { panel, picture })),
        (error: unknown) => current && setMade((old) => new Map(old).set(key(panel), { panel, error: error instanceof Error ? error.message : String(error) })),
      );
    }
    return () => void (current = false);
  }, [panels.map(key).join("\n")]);
  const last = useRef(new Map<string, Loaded>());
  return panels.map((panel) => {
    const found = made.get(key(panel));
    if (found) last.current.set(panel.slot, found);
    return { ...(found ?? last.current.get(panel.slot) ?? {}), panel };
  });
}

function Chips({ arrays, choice }: { arrays: ReturnType<typeof arraysOf>; choice: ReturnType<typeof chosen> }) {
  const { router, study } = useExplorer();
  const kinds = kindsOf(arrays);
  const models = modelsOf(study, arrays);
  const turned = <T extends string>(all: readonly T[], some: readonly T[], one: T): string => list(all.filter((other) => (other === one) !== some.includes(other)));
  return (
    <>
      <div class="xe-line" role="group" aria-label="What is shown">
        {kinds.map((kind: Kind) => (
          <Toggle key={kind} on={choice.kinds.includes(kind)} onClick={() => router.change({ kinds: turned(kinds, choice.kinds, kind) })}>
            {KIND_TITLES[kind]}
          </Toggle>
        ))}
      </div>
      {models.length > 1 && (
        <div class="xe-line" role="group" aria-label="Networks">
          {models.map((model) => (
            <Toggle key={model} on={choice.models.includes(model)} colour={study.models.find((one) => one.id === model)?.colour} onClick={() => router.change({ models: turned(models, choice.models, model) })}>
              <bdi>{model}</bdi>
            </Toggle>
          ))}
        </div>
      )}
    </>
  );
}

/** Where the cursor is, in pixels of the input. */
function Position({ linked }: { linked: Linked }) {
  const cursor = linked.cursor.value;
  const { sample } = linked.stage;
  const inside = cursor && cursor.x >= 0 && cursor.y >= 0 && cursor.x < sample.width && cursor.y < sample.height;
  return (
    <span class="xe-position" aria-live={linked.byKeys.value ? "polite" : "off"}>
      {inside ? `input row ${Math.floor(cursor.y)}, column ${Math.floor(cursor.x)}` : `input ${sample.width} × ${sample.height}`} · ×{shown(linked.view.value.zoom, 2)}
    </span>
  );
}

/** Which frame of a clip is seen. */
function FrameNote({ picture, dims }: { picture: Picture; dims: readonly string[] }) {
  const frame = picture.panel.role === "image" ? (picture.total > 1 ? picture.place[0] : undefined) : dims[1] === "frame" ? picture.place[1] : undefined;
  return frame === undefined ? null : <small>frame {frame}{picture.panel.role === "image" ? ` of 0…${picture.total - 1}` : ""}</small>;
}

function FeatureChoice(props: { images: SampleImages; arrays: ReturnType<typeof arraysOf>; choice: ReturnType<typeof chosen>; panel: Panel; loaded: () => void }) {
  const { images, arrays, choice, panel } = props;
  const { router } = useExplorer();
  const at = choice.features.findIndex((one) => `${one.key}@${one.plane ?? ""}` === panel.id);
  const all = images.places(panel.key);
  const dims = arrays.find((one) => one.key === panel.key)?.dims ?? [];
  const write = (features: readonly { key: string; plane: number | null }[]): void => router.change({ features: list(features.map((one) => `${one.key}@${one.plane ?? ""}`)) });
  const change = (one: { key: string; plane: number | null }): void => write(choice.features.map((other, i) => (i === at ? one : other)));
  return (
    <span class="xe-features">
      <Choice label="array" value={panel.key} options={arrays.map((one) => ({ value: one.key, text: one.title, group: one.model }))} onChange={(key) => change({ key, plane: null })} />
      <Choice
        label={dims.slice(0, -2).join(", ") || "plane"} value={panel.plane === null ? "" : String(panel.plane)}
        options={all.map((place, i) => ({ value: String(i), text: place.join(", ") || "0" }))}
        onChange={(value) => change({ key: panel.key, plane: flat(all[Number(value)] ?? [], all) })}
      />
      <small>{all.length} of {images.total(panel.key)}</small>
      {images.more(panel.key) && <button type="button" onClick={() => void images.loadAll(panel.key).then(props.loaded)}>All planes</button>}
      <button type="button" aria-label="Another panel of features" onClick={() => write([...choice.features, { key: panel.key, plane: flat(all[Math.min(all.length - 1, choice.features.length)] ?? [], all) }])}>+</button>
      {choice.features.length > 1 && <button type="button" aria-label="Remove this panel" onClick={() => write(choice.features.filter((_, i) => i !== at))}>×</button>}
    </span>
  );
}
