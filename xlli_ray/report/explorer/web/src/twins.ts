/** Links from the figures of the page to themselves in the explorer, where values and lines can be read. */
import type { FigureData } from "./data";
import { formatRoute } from "./route";

export function linkTwins(figures: readonly FigureData[], kinds: ReadonlySet<string>): void {
  for (const one of figures) {
    const caption = one.anchor && kinds.has(one.kind) ? document.getElementById(one.anchor)?.querySelector("figcaption") : null;
    if (!caption) continue;
    const link = document.createElement("a");
    link.className = "xe-twin";
    link.href = formatRoute({ tab: "figures", query: { figure: one.anchor } });
    link.textContent = "Explore this figure";
    caption.append(" ", link);
  }
}
