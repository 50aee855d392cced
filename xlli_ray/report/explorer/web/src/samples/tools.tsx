/** Above the table: what is measured, of which networks, sorted and filtered how. */
import { useState } from "preact/hooks";
import { Choice, list, Toggle, useMeasures } from "../controls";
import { csv } from "../csv";
import { useExplorer } from "../explorer";
import { counted } from "../format";
import { type Bound, formatBounds, formatMeasure, type Measure, parseMeasure } from "../rows";
import { fileName, saveText } from "../save";
import { samplesTable } from "../tables";
import type { Asked } from "./asked";

export function Tools({ asked, count }: { asked: Asked; count: number }) {
  const explorer = useExplorer();
  const { router, study } = explorer;
  const measures = useMeasures();
  const about = explorer.about(asked.measure);
  const set = (fields: Record<string, string>): void => router.change(fields);
  const order = (measure: Measure, falling: boolean): void => set({ sort: formatMeasure(measure), dir: falling ? "desc" : "asc" });
  const first: Measure = { column: asked.measure, model: asked.models[0] ?? "", minus: "" };
  const higher = about?.better !== "lower";
  const failures = explorer.about("sample/failures");
  return (
    <div class="xe-tools">
      <div class="xe-line">
        {measures.length > 0 && (
          <Choice
            label="Measure" value={asked.measure}
            options={measures.map((one) => ({ value: one.id, text: one.name, group: one.group }))}
            onChange={(value) => set({ measure: value, sort: "", dir: "", models: "", compare: "" })}
          />
        )}
        {about && (
          <>
            <button type="button" onClick={() => order(first, !higher)}>Worst first</button>
            <button type="button" onClick={() => order(first, higher)}>Best first</button>
          </>
        )}
        {failures && <button type="button" onClick={() => order({ column: "sample/failures", model: "", minus: "" }, true)}>Failures first</button>}
        <label class="xe-choice">
          <span>Find</span>
          <input type="search" value={asked.text} placeholder="file, id" onInput={(event) => set({ q: event.currentTarget.value })} />
        </label>
      </div>
      {about && about.models.length > 1 && (
        <div class="xe-line" role="group" aria-label="Networks">
          {about.models.map((model) => (
            <Toggle
              key={model} on={asked.models.includes(model)} colour={study.models.find((one) => one.id === model)?.colour}
              onClick={() => {
                const next = about.models.filter((one) => (one === model) !== asked.models.includes(one));
                set({ models: list(next) });
              }}
            >
              {model}
            </Toggle>
          ))}
          <Difference asked={asked} models={about.models} />
        </div>
      )}
      {study.labels.length > 1 && (
        <div class="xe-line" role="group" aria-label="Degradations">
          {study.labels.map((one) => (
            <Toggle
              key={one.label} on={asked.labels.includes(one.label)} colour={one.colour} title={`${counted(one.rows)} samples`}
              onClick={() => set({ labels: list(asked.labels.includes(one.label) ? asked.labels.filter((label) => label !== one.label) : [...asked.labels, one.label]) })}
            >
              {one.label}
            </Toggle>
          ))}
        </div>
      )}
      <Bounds asked={asked} />
      <p class="xe-count" aria-live="polite">
        {counted(count)} of {counted(study.rows)} samples
        {explorer.brushed.value && (
          <>
            , brushed in the scatter <button type="button" onClick={() => void (explorer.brushed.value = null)}>show all</button>
          </>
        )}
        {about && about.most > 1 && <>; each value is the mean over up to {about.most} rows of a sample</>}{" "}
        <button type="button" onClick={() => void samplesTable(explorer, explorer.order.peek()).then((table) => saveText(fileName(`${study.name} samples`, "csv"), "text/csv", csv(table)))}>
          Save as CSV
        </button>
      </p>
    </div>
  );
}

/** Choice of two networks whose difference is a column. */
function Difference({ asked, models }: { asked: Asked; models: readonly string[] }) {
  const { router } = useExplorer();
  const options = [{ value: "", text: "–" }, ...models.map((model) => ({ value: model, text: model }))];
  const [one, other] = asked.compare ?? ["", ""];
  const set = (a: string, b: string): void => {
    const sort = a && b ? formatMeasure({ column: asked.measure, model: b, minus: a }) : "";
    router.change({ compare: a || b ? list([a, b]) : "", sort, dir: sort ? "desc" : "" });
  };
  const [draft, setDraft] = useState<[string, string]>([one, other]);
  const change = (a: string, b: string): void => {
    setDraft([a, b]);
    if ((a && b && a !== b) || (!a && !b)) set(a, b);
  };
  return (
    <span class="xe-difference">
      <Choice label="Difference" value={draft[1]} options={options} onChange={(value) => change(draft[0], value)} />
      <Choice label="minus" value={draft[0]} options={options} onChange={(value) => change(value, draft[1])} />
    </span>
  );
}

/** Limits on numbers. */
function Bounds({ asked }: { asked: Asked }) {
  const { router, study } = useExplorer();
  const numbers = study.columns.filter((one) => one.kind === "number");
  const options = numbers.flatMap((one) =>
    (one.models.length ? one.models : [""]).map((model) => {
      const value = formatMeasure({ column: one.id, model, minus: "" });
      return { value, text: model ? `${one.name}, ${model}` : one.name, group: one.group };
    }),
  );
  const [what, setWhat] = useState(options[0]?.value ?? "");
  const [sign, setSign] = useState<"≥" | "≤">("≥");
  const [value, setValue] = useState("");
  if (!options.length) return null;
  const set = (bounds: readonly Bound[]): void => router.change({ where: formatBounds(bounds) });
  return (
    <details class="xe-bounds" open={asked.bounds.length > 0}>
      <summary>Limits on numbers</summary>
      <div class="xe-line">
        <Choice label="Column" value={what} options={options} onChange={setWhat} />
        <Choice label="is" value={sign} options={[{ value: "≥", text: "at least" }, { value: "≤", text: "at most" }]} onChange={(one) => setSign(one as "≥" | "≤")} />
        <label class="xe-choice">
          <span>value</span>
          <input type="number" step="any" value={value} onInput={(event) => setValue(event.currentTarget.value)} />
        </label>
        <button
          type="button" disabled={value === ""}
          onClick={() => {
            const measure = parseMeasure(what);
            if (measure) set([...asked.bounds, { measure, sign, value: Number(value) }]);
          }}
        >
          Add
        </button>
        {asked.bounds.map((one, i) => (
          <button type="button" key={i} class="xe-chip" aria-label={`remove ${formatBounds([one])}`} onClick={() => set(asked.bounds.filter((_, k) => k !== i))}>
            {formatBounds([one])} ×
          </button>
        ))}
      </div>
    </details>
  );
}
