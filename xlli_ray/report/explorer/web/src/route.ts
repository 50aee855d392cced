/** The view as part of the address: `#/samples?sort=…`. A link opens exactly this view; other anchors belong to the static page. */
import { type Signal, signal } from "@preact/signals";

export type Tab = "samples" | "sample" | "scatter" | "figures";
export const TABS: readonly Tab[] = ["samples", "sample", "scatter", "figures"];

export interface Route {
  tab: Tab;
  query: Readonly<Record<string, string>>;
}

/** null: an anchor of the static page, or none. */
export function parseRoute(hash: string): Route | null {
  const match = /^#\/([a-z]+)(?:\?(.*))?$/.exec(hash);
  const tab = TABS.find((name) => name === match?.[1]);
  return match && tab ? { tab, query: Object.fromEntries(new URLSearchParams(match[2] ?? "")) } : null;
}

/** Fields in order of their names, empty ones left out: one view has one address. */
export function formatRoute(route: Route): string {
  const fields = Object.entries(route.query).filter(([, value]) => value !== "").sort(([a], [b]) => (a < b ? -1 : 1));
  const query = new URLSearchParams(fields).toString();
  return `#/${route.tab}${query ? `?${query}` : ""}`;
}

/** The view that is open. Of a page it is in the address, with a history; in a notebook it is not. */
export class Router {
  readonly route: Signal<Route> = signal({ tab: "samples", query: {} });
  /** How each tab was left: one comes back to the same view. */
  private readonly left: Partial<Record<Tab, Readonly<Record<string, string>>>> = {};

  constructor(private readonly addressed: boolean) {
    if (!addressed) return;
    const read = (): void => {
      const found = parseRoute(location.hash);
      if (found) this.route.value = found;
    };
    read();
    addEventListener("hashchange", read);
    addEventListener("popstate", read);
  }

  /** Go to another view, or without `query` back to a tab as it was left: a new entry in the history, or none with `replace` (sliders,
   * panning). */
  go(tab: Tab, query: Readonly<Record<string, string>> = this.left[tab] ?? {}, how: "push" | "replace" = "push"): void {
    const next = { tab, query };
    const now = this.route.peek();
    this.left[now.tab] = now.query;
    this.route.value = next;
    const hash = formatRoute(next);
    if (this.addressed && hash !== location.hash) history[how === "push" ? "pushState" : "replaceState"](null, "", hash);
  }

  /** Change fields of the view that is open; "" removes one. */
  change(fields: Readonly<Record<string, string>>, how: "push" | "replace" = "replace"): void {
    const { tab, query } = this.route.peek();
    this.go(tab, { ...query, ...fields }, how);
  }
}
