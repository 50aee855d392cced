/** What all panels of a sample share: the place, the zoom, the cursor. */
import { type Signal, signal } from "@preact/signals";
import { panned, type Stage, toSample, type View, whole, zoomed } from "./viewport";

export interface Cursor {
  /** In input pixels. */
  x: number;
  y: number;
}

export class Linked {
  readonly view: Signal<View>;
  /** Under the pointer; with the keyboard, the middle of the view. */
  readonly cursor: Signal<Cursor | null> = signal(null);
  readonly byKeys: Signal<boolean> = signal(false);

  constructor(
    readonly stage: Stage,
    view: View,
  ) {
    this.view = signal(view);
  }

  set(view: View): boolean {
    const before = this.view.peek();
    if (before.x === view.x && before.y === view.y && before.zoom === view.zoom) return false;
    this.view.value = view;
    if (this.byKeys.peek()) this.cursor.value = { x: view.x, y: view.y };
    return true;
  }

  zoom(factor: number, u = 0.5, v = 0.5): boolean {
    return this.set(zoomed(this.stage, this.view.peek(), factor, u, v));
  }

  pan(du: number, dv: number): boolean {
    return this.set(panned(this.stage, this.view.peek(), du, dv));
  }

  reset(): void {
    this.set(whole(this.stage));
  }

  /** (u, v) of a panel in input pixels. */
  at(u: number, v: number): Cursor {
    return toSample(this.stage, this.view.peek(), u, v);
  }

  point(at: { u: number; v: number } | null): void {
    this.byKeys.value = false;
    this.cursor.value = at && this.at(at.u, at.v);
  }

  /** A key of the panels; whether it means something. `step`: shares of a panel that an arrow moves by. */
  key(event: KeyboardEvent, step = 0.1): boolean {
    const arrows: Record<string, [number, number]> = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const arrow = arrows[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey) return false;
    this.byKeys.value = true;
    if (arrow) this.pan(...arrow);
    else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-" || event.key === "_") this.zoom(1 / 1.5);
    else if (event.key === "0" || event.key === "Home") this.reset();
    else return false;
    const { x, y } = this.view.peek();
    this.cursor.value = { x, y };
    return true;
  }
}
