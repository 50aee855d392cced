/** All samples: sorted, filtered, with thumbnails; one measured number at a time, side by side for several networks. */
import { useEffect, useState } from "preact/hooks";
import { useExplorer } from "./explorer";
import { chosenRows, useAsked } from "./samples/asked";
import { Grid } from "./samples/grid";
import { Tools } from "./samples/tools";

export function SamplesTable() {
  const explorer = useExplorer();
  const asked = useAsked();
  const brushed = explorer.brushed.value;
  const key = JSON.stringify([asked.sort, asked.falling, asked.labels, asked.bounds, asked.text, brushed ? [...brushed].length : -1, brushed?.values().next().value]);
  const [rows, setRows] = useState<{ rows: Uint32Array; error: string }>({ rows: new Uint32Array(), error: "" });
  useEffect(() => {
    let current = true;
    chosenRows(explorer, asked, brushed).then(
      (found) => {
        if (!current) return;
        explorer.order.value = found;
        setRows({ rows: found, error: "" });
      },
      (error: Error) => current && setRows((before) => ({ ...before, error: error.message })),
    );
    return () => void (current = false);
  }, [key, brushed]);
  return (
    <section class="xe-samples" aria-label="Samples">
      <Tools asked={asked} count={rows.rows.length} />
      {rows.error && <p class="xe-error">{rows.error}</p>}
      <Grid asked={asked} rows={rows.rows} />
    </section>
  );
}
