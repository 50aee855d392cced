/** The explorer as a whole: tabs, and the view that is open. */
import { useEffect, useRef } from "preact/hooks";
import { Explorer, Here, useExplorer } from "./explorer";
import { VIEWS } from "./views";

export function App({ explorer }: { explorer: Explorer }) {
  return (
    <Here.Provider value={explorer}>
      <Tabs />
    </Here.Provider>
  );
}

function Tabs() {
  const { router, study } = useExplorer();
  const open = router.route.value.tab;
  const view = VIEWS.find((one) => one.tab === open) ?? VIEWS[0];
  const panel = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (open === "sample") panel.current?.scrollIntoView({ block: "nearest" });
  }, [open]);
  const Open = view?.component;
  return (
    <div class="xe">
      <nav class="xe-tabs" aria-label={`Explore ${study.name}`}>
        {VIEWS.filter((one) => one.listed || one.tab === open).map((one) => (
          <a
            key={one.tab}
            href={`#/${one.tab}`}
            aria-current={one.tab === open ? "page" : undefined}
            onClick={(event) => {
              event.preventDefault();
              if (one.tab !== open) router.go(one.tab);
            }}
          >
            {one.title}
          </a>
        ))}
      </nav>
      <div class="xe-panel" ref={panel}>
        {Open && <Open />}
      </div>
    </div>
  );
}
