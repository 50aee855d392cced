/** Above the plot: which measures, or which embedding, and what the colours are. */
import { Choice, type Option } from "../controls";
import { useExplorer } from "../explorer";
import { nameOf } from "../figure_names";
import { formatMeasure, type Measure } from "../rows";
import { type Asked, axesOf, GROUP, NETWORK } from "./asked";
import type { Loaded } from "./load";

export function Tools({ asked, loaded }: { asked: Asked; loaded?: Loaded }) {
  const { study, router } = useExplorer();
  const fresh = { brush: "", zoom: "", off: "" };
  const embeddings = study.figures.flatMap((one, i) =>
    one.kind === "embedding" ? [{ value: nameOf(study.figures, i), text: one.title || one.caption, group: "embedding" }] : [],
  );
  const words = study.columns.filter((one) => one.kind === "word");
  const colours: Option[] = [
    { value: "none", text: "one colour" },
    ...(asked.cloud ? [{ value: GROUP, text: "degradation" }] : []),
    ...(!asked.cloud && study.models.length > 1 ? [{ value: NETWORK, text: "network, a point each" }] : []),
    ...words.map((one) => ({ value: one.id, text: one.name === "label" ? "degradation" : one.name, group: "samples" })),
    ...axesOf(study).map((one) => ({ value: one.id, text: one.name, group: one.group })),
  ];
  return (
    <div class="xe-tools">
      {embeddings.length > 0 && (
        <div class="xe-line">
          <Choice
            label="Show"
            value={asked.cloud ? asked.cloud.figure : ""}
            options={[...(axesOf(study).length ? [{ value: "", text: "two measures" }] : []), ...embeddings]}
            onChange={(value) => router.change({ ...fresh, colour: "", cloud: value ? `${value}:0` : "none" })}
          />
          {asked.cloud && loaded && loaded.clouds.length > 1 && (
            <Choice
              label="Panel"
              value={String(asked.cloud.index)}
              options={loaded.clouds.map((text, i) => ({ value: String(i), text }))}
              onChange={(value) => router.change({ ...fresh, cloud: `${asked.cloud?.figure}:${value}` })}
            />
          )}
        </div>
      )}
      {!asked.cloud && (
        <>
          <Side
            label="x"
            measure={asked.x}
            networks={asked.colour !== NETWORK}
            onChange={(measure) => router.change({ brush: "", zoom: "", x: formatMeasure(measure) })}
          />
          <Side
            label="y"
            measure={asked.y}
            networks={asked.colour !== NETWORK}
            onChange={(measure) => router.change({ brush: "", zoom: "", y: formatMeasure(measure) })}
          />
        </>
      )}
      <div class="xe-line">
        <Choice
          label="Colour"
          value={asked.colour || "none"}
          options={colours}
          onChange={(colour) => router.change({ ...fresh, colour })}
        />
      </div>
    </div>
  );
}

/** One axis: the measure, its network, and the network to subtract. */
function Side({
  label,
  measure,
  networks,
  onChange,
}: {
  label: string;
  measure: Measure;
  networks: boolean;
  onChange: (measure: Measure) => void;
}) {
  const explorer = useExplorer();
  const about = explorer.about(measure.column);
  const models = about?.models ?? [];
  const options = models.map((model) => ({ value: model, text: model }));
  return (
    <div class="xe-line" role="group" aria-label={`${label} axis`}>
      <Choice
        label={label}
        value={measure.column}
        options={axesOf(explorer.study).map((one) => ({ value: one.id, text: one.name, group: one.group }))}
        onChange={(column) => {
          const next = explorer.about(column)?.models ?? [];
          onChange({
            column,
            model: next.includes(measure.model) ? measure.model : (next[0] ?? ""),
            minus: next.includes(measure.minus) ? measure.minus : "",
          });
        }}
      />
      {networks && models.length > 0 && (
        <Choice label="of" value={measure.model} options={options} onChange={(model) => onChange({ ...measure, model })} />
      )}
      {networks && models.length > 1 && (
        <Choice
          label="minus"
          value={measure.minus}
          options={[{ value: "", text: "nothing" }, ...options]}
          onChange={(minus) => onChange({ ...measure, minus })}
        />
      )}
    </div>
  );
}
