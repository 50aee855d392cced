/** Wheel, drag, pinch and double click on an element, as zoom and pan in shares of it. */
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";

export interface Gestures {
  /** Returns whether anything changed: if not, a wheel scrolls the page. */
  zoom(factor: number, u: number, v: number): boolean;
  pan(du: number, dv: number): void;
  reset(): void;
  /** The pointer is here; null: it has left. */
  point(at: { u: number; v: number } | null): void;
  tap(u: number, v: number): void;
  /** If given, a drag is this instead of a pan. */
  draw?(from: { u: number; v: number }, to: { u: number; v: number }, done: boolean): void;
}

const TAP = 4;

export function useGestures(ref: RefObject<HTMLElement | null>, gestures: Gestures): void {
  const now = useRef(gestures);
  now.current = gestures;
  useEffect(() => (ref.current ? listen(ref.current, () => now.current) : undefined), []);
}

function listen(element: HTMLElement, current: () => Gestures): () => void {
  const down = new Map<number, { x: number; y: number }>();
  let start: { x: number; y: number; u: number; v: number } | null = null;
  let moved = false;
  const share = (x: number, y: number): { u: number; v: number } => {
    const box = element.getBoundingClientRect();
    return { u: (x - box.left) / box.width, v: (y - box.top) / box.height };
  };
  const onWheel = (event: WheelEvent): void => {
    const { u, v } = share(event.clientX, event.clientY);
    const step = event.deltaMode === 1 ? 0.05 : event.ctrlKey ? 0.01 : 0.002;
    if (current().zoom(Math.exp(-event.deltaY * step), u, v)) event.preventDefault();
  };
  const onDown = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    start = down.size === 1 ? { x: event.clientX, y: event.clientY, ...share(event.clientX, event.clientY) } : null;
    moved = down.size > 1;
  };
  const onMove = (event: PointerEvent): void => {
    const at = share(event.clientX, event.clientY);
    current().point(at);
    const before = down.get(event.pointerId);
    if (!before) return;
    const box = element.getBoundingClientRect();
    const others = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const other = others[0];
    if (other) {
      const middle = share((event.clientX + other.x) / 2, (event.clientY + other.y) / 2);
      const factor = Math.hypot(event.clientX - other.x, event.clientY - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      current().zoom(factor, middle.u, middle.v);
      current().pan((event.clientX - before.x) / 2 / box.width, (event.clientY - before.y) / 2 / box.height);
      return;
    }
    if (start && Math.hypot(event.clientX - start.x, event.clientY - start.y) > TAP) moved = true;
    if (!moved || !start) return;
    const draw = current().draw;
    if (draw) draw(start, at, false);
    else current().pan((event.clientX - before.x) / box.width, (event.clientY - before.y) / box.height);
  };
  const onUp = (event: PointerEvent): void => {
    if (!down.delete(event.pointerId)) return;
    const { u, v } = share(event.clientX, event.clientY);
    if (start && event.type === "pointerup") {
      const draw = current().draw;
      if (draw) draw(start, { u, v }, true);
      else if (!moved) current().tap(u, v);
    }
    start = null;
    if (event.pointerType !== "mouse") current().point(null);
  };
  const onLeave = (): void => current().point(null);
  const onDouble = (): void => current().reset();
  element.addEventListener("wheel", onWheel, { passive: false });
  element.addEventListener("pointerdown", onDown);
  element.addEventListener("pointermove", onMove);
  element.addEventListener("pointerup", onUp);
  element.addEventListener("pointercancel", onUp);
  element.addEventListener("pointerleave", onLeave);
  element.addEventListener("dblclick", onDouble);
  return () => {
    element.removeEventListener("wheel", onWheel);
    element.removeEventListener("pointerdown", onDown);
    element.removeEventListener("pointermove", onMove);
    element.removeEventListener("pointerup", onUp);
    element.removeEventListener("pointercancel", onUp);
    element.removeEventListener("pointerleave", onLeave);
    element.removeEventListener("dblclick", onDouble);
  };
}
