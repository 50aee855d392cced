/** A figure on the page: drawn to the width there is, says the value that is pointed at, by mouse, finger and keyboard. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useExplorer } from "../explorer";
import { Thumbnail } from "../thumbnail";
import type { Hit, Kind } from "./kind";

/** Pixels from the pointer to a value that it means. */
const REACH = 26;
const LEAST = 280;

export function useWidth(): [{ current: HTMLDivElement | null }, number] {
  const box = useRef<HTMLDivElement>(null);
  const [width, set] = useState(0);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const read = (): void => set(Math.floor(element.clientWidth));
    const watch = new ResizeObserver(read);
    watch.observe(element);
    read();
    return () => watch.disconnect();
  }, []);
  return [box, width];
}

/** The nearest hit, no further than `reach`. */
export function nearest(hits: readonly Hit[], x: number, y: number, reach = REACH): number {
  let [best, least] = [-1, reach * reach];
  hits.forEach((hit, i) => {
    const far = (hit.x - x) ** 2 + (hit.y - y) ** 2;
    if (far < least) [best, least] = [i, far];
  });
  return best;
}

export function Chart<View extends { title: string }>({
  kind,
  view,
  hidden,
}: {
  kind: Kind<View>;
  view: View;
  hidden: ReadonlySet<string>;
}) {
  const { router } = useExplorer();
  const [box, width] = useWidth();
  const drawn = useMemo(() => (width ? kind.draw(view, Math.max(LEAST, width), hidden) : null), [kind, view, width, hidden]);
  const [at, setAt] = useState(-1);
  useEffect(() => setAt(-1), [drawn]);
  const hit = drawn?.hits[at];
  const open = (): void => {
    if (hit?.row !== undefined) router.go("sample", { row: String(hit.row) });
  };
  const point = (event: PointerEvent & { currentTarget: HTMLElement }): void => {
    const frame = event.currentTarget.getBoundingClientRect();
    setAt(nearest(drawn?.hits ?? [], event.clientX - frame.left, event.clientY - frame.top));
  };
  const steps: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  return (
    <div class="xe-paper" ref={box}>
      {drawn && (
        <div
          class="xe-chart"
          tabIndex={0}
          role="group"
          aria-label={`${view.title}: arrow keys go from value to value`}
          style={{ height: `${drawn.height}px` }}
          onPointerMove={point}
          onPointerDown={point}
          onPointerLeave={(event) => event.pointerType === "mouse" && setAt(-1)}
          onClick={open}
          onKeyDown={(event) => {
            const step = steps[event.key];
            const count = drawn.hits.length;
            if (step && count) {
              event.preventDefault();
              setAt((at + step + count + (at < 0 && step < 0 ? 1 : 0)) % count);
            } else if (event.key === "Escape") setAt(-1);
            else if (event.key === "Enter") open();
          }}
        >
          <svg width={Math.max(LEAST, width)} height={drawn.height} role="img" aria-label={view.title}>
            {drawn.content}
            {hit && <circle cx={hit.x} cy={hit.y} r={8} fill="none" stroke={hit.colour} stroke-width={2} />}
          </svg>
          {hit && <Tip hit={hit} width={width} />}
        </div>
      )}
    </div>
  );
}

export function Tip({ hit, width }: { hit: Hit; width: number }) {
  const left = hit.x > width / 2;
  const room = (left ? hit.x : width - hit.x) - 14;
  const side = {
    [left ? "right" : "left"]: `${(left ? width - hit.x : hit.x) + 14}px`,
    maxWidth: `${Math.min(320, Math.max(120, room))}px`,
  };
  return (
    <div class="xe-tip" role="status" style={{ ...side, top: `${Math.max(0, hit.y - 10)}px` }}>
      {hit.row !== undefined && <Thumbnail row={hit.row} />}
      <div>
        <b>
          <span class="xe-dot" style={{ background: hit.colour }} />
          <bdi>{hit.head}</bdi>
        </b>
        {hit.lines.map((line, i) => (
          <div key={i}>
            <bdi>{line}</bdi>
          </div>
        ))}
      </div>
    </div>
  );
}
