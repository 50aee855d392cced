/** The windows of a sample: those with maps, in a list, and one that the reader picks, with the lines that compute its maps. */
import { useRef, useState } from "preact/hooks";
import { useExplorer } from "../explorer";
import { shown } from "../format";
import { EffectNumbers } from "./effects";
import type { MapStage, MapWindow } from "./panels";
import { fileLines, formatSquare, type Probe, pythonCall, recipeLines, shellCall, type Square } from "./window_calls";

export function WindowList({ stage, models, chosen, choose }: { stage: MapStage; models: readonly string[]; chosen: MapWindow | null; choose: (window: MapWindow) => void }) {
  const { study } = useExplorer();
  const some = models.filter((model) => stage.windows.some((one) => one.of.has(model)));
  return (
    <div class="xe-grid xe-windows" tabIndex={0} role="region" aria-label="Windows">
      <table>
        <thead>
          <tr>
            <th scope="col">window, output pixels</th>
            {some.map((model) => (
              <th scope="col" class="num" key={model}>
                <span class="xe-dot" style={{ background: study.models.find((one) => one.id === model)?.colour }} />
                <bdi>{model}</bdi> <small>{stage.effects ? "blocks" : "DI"}</small>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {stage.windows.map((one) => (
            <tr key={formatSquare(one)} class={one === chosen ? "xe-active" : undefined} onClick={() => choose(one)}>
              <td>
                <button type="button" class="xe-toggle" aria-pressed={one === chosen} onClick={() => choose(one)}>
                  row {one.top}, column {one.left}, size {one.size}
                </button>
              </td>
              {some.map((model) => (
                <td class={stage.effects ? "num xe-counts" : "num"} key={model}>
                  {stage.effects ? <EffectNumbers values={one.of.get(model)?.values} /> : <LamNumbers values={one.of.get(model)?.values} />}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** DI and estimated error of a map. */
export function LamNumbers({ values }: { values: Record<string, number | null> | undefined }) {
  if (!values) return <>–</>;
  if (values["undefined"]) return <>undefined</>;
  const error = values["error_estimate"];
  return (
    <>
      {shown(values["di"], 3)}
      <small title="estimated relative error of the map"> error {error == null ? "–" : `${shown(100 * error, 2)} %`}</small>
    </>
  );
}

export interface Picked {
  id: string;
  source: string;
  window: Square;
  /** Of the output. */
  height: number;
  width: number;
  models: readonly string[];
  outputs: boolean;
  /** As the stage whose windows are listed. */
  probe: Probe;
}

/** The lines that compute the maps of the picked window. */
export function WindowCalls({ picked, change, close }: { picked: Picked; change: (window: Square) => void; close: () => void }) {
  const { study } = useExplorer();
  const { window, height, width, probe } = picked;
  const field = (name: keyof Square, label: string, most: number) => (
    <label class="xe-choice">
      <span>{label}</span>
      <input
        type="number" min={name === "size" ? 1 : 0} max={most} value={window[name]}
        onInput={(event) => {
          const value = event.currentTarget.valueAsNumber;
          if (Number.isInteger(value) && value >= (name === "size" ? 1 : 0) && value <= most) change({ ...window, [name]: value });
        }}
      />
    </label>
  );
  const inside = window.top + window.size < height && window.left + window.size < width;
  const models = study.models.filter((one) => picked.models.includes(one.id));
  const file = fileLines(window, picked.source, probe);
  return (
    <section class="xe-calls" aria-label="Compute the maps of a window">
      <div class="xe-line">
        <b>Picked window</b>
        {field("top", "row", height - 1 - window.size)}
        {field("left", "column", width - 1 - window.size)}
        {field("size", "size", Math.min(height - 1 - window.top, width - 1 - window.left))}
        <span class="xe-count">output pixels, of {width} × {height}</span>
        <button type="button" onClick={close}>Close</button>
      </div>
      {inside ? (
        <>
          <Lines title="Run it, into this study, for all samples" text={shellCall(study, window, probe)} />
          <Lines title="The same in the recipe, below stages:" text={recipeLines(window, probe)} />
          <Lines title="In Python, of this image alone" text={pythonCall(study, picked.id, models, window, picked.outputs, probe)} />
          <details>
            <summary>A recipe for this image alone</summary>
            <Lines title="windows.csv, beside the recipe:" text={file.csv} />
            <Lines title="below stages:" text={file.recipe} />
          </details>
        </>
      ) : (
        <p class="xe-error">A window ends at least one pixel before the last row and column of the output.</p>
      )}
    </section>
  );
}

/** Text to copy. */
export function Lines({ title, text }: { title: string; text: string }) {
  const block = useRef<HTMLPreElement>(null);
  const [copied, setCopied] = useState("");
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(text);
    } catch {
      if (block.current) getSelection()?.selectAllChildren(block.current);
    }
  };
  return (
    <div class="xe-lines">
      <div class="xe-line">
        <span>{title}</span>
        <button type="button" onClick={() => void copy()} aria-label={`Copy: ${title}`}>{copied === text ? "Copied" : "Copy"}</button>
      </div>
      <pre ref={block} tabIndex={0}>{text}</pre>
    </div>
  );
}
