/** Everything that was measured of a sample, network by network, and what failed. */
import type { ColumnData, NamesPart } from "../data";
import { useExplorer, useLoaded } from "../explorer";
import { quoted, shown } from "../format";
import { best, type Values } from "./numbers";
import { Thumbnail } from "../thumbnail";

/** `values`: exact ones; the columns that they lack are left out. */
export function ValuesTable({ values }: { values: Values }) {
  const { study } = useExplorer();
  const columns = study.columns.filter((one) => values[one.id] && Object.keys(values[one.id] ?? {}).length);
  if (!columns.length) return <p class="xe-count">No numbers were measured of this sample.</p>;
  const models = study.models.map((one) => one.id).filter((id) => columns.some((one) => id in (values[one.id] ?? {})));
  const alone = columns.some((one) => "" in (values[one.id] ?? {}));
  const owners = [...(alone ? [""] : []), ...models];
  return (
    <div class="xe-grid xe-values" tabIndex={0} role="region" aria-label="Values of this sample">
      <table>
        <thead>
          <tr>
            <th scope="col">measure</th>
            {owners.map((owner) => (
              <th scope="col" class="num" key={owner}>
                {owner ? <bdi>{owner}</bdi> : "sample"}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {columns.map((column) => (
            <ValuesRow key={column.id} column={column} values={values[column.id] ?? {}} owners={owners} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function ValuesRow({ column, values, owners }: { column: ColumnData; values: Readonly<Record<string, number | string | null>>; owners: readonly string[] }) {
  const winners = best(column, values);
  return (
    <tr>
      <th scope="row" title={column.about}>
        {column.group !== "sample" && <small>{column.group} </small>}
        {column.name} {column.unit && <small>{column.unit}</small>}
        {column.most > 1 && <small> mean over windows</small>}
      </th>
      {owners.map((owner) => {
        const value = values[owner];
        return (
          <td key={owner} class={winners.has(owner) ? "num xe-best" : "num"}>
            {typeof value === "string" ? <bdi>{value}</bdi> : owner in values ? shown(value, 5) : ""}
            {winners.has(owner) && <span class="xe-hidden"> (best)</span>}
          </td>
        );
      })}
    </tr>
  );
}

/** A sample whose images are not in the page's folder. */
export function NotHeld({ row }: { row: number }) {
  const explorer = useExplorer();
  const { study } = explorer;
  const { value: values, error } = useLoaded(`all ${row}`, async () => {
    const out: Record<string, Record<string, number | string | null>> = {};
    for (const column of study.columns) {
      const all = await explorer.values(column.id);
      const owners = column.models.length ? column.models : [""];
      owners.forEach((owner, i) => {
        const at = i * study.rows + row;
        const value = all.words ? (all.words[(all.codes[at] ?? 0) - 1] ?? null) : (all.numbers[at] ?? NaN);
        if (value !== null && !Number.isNaN(value)) (out[column.id] ??= {})[owner] = value;
      });
    }
    return out;
  });
  return (
    <>
      <div class="xe-notheld">
        <Thumbnail row={row} size={2 * study.thumbnailSide} />
        <p>
          The images of this sample are not in the page's folder, which holds {study.held.length} of {study.rows} samples. A server shows all of them:
          <br />
          <code>xlli view {quoted(study.place)}</code>
        </p>
      </div>
      {error && <p class="xe-error">{error}</p>}
      {values && <ValuesTable values={values} />}
    </>
  );
}

/** Failed measurements of this sample, and what cannot be shown of it. */
export function Problems({ failures, missing }: { failures: NamesPart["failures"]; missing: readonly { key: string; reason: string }[] }) {
  if (!failures.length && !missing.length) return null;
  return (
    <ul class="xe-error xe-problems">
      {failures.map((one, i) => (
        <li key={`f${i}`}>
          failed: <b>{one.stage}</b> {one.model && <bdi>{one.model}</bdi>}: <bdi>{one.reason}</bdi>
        </li>
      ))}
      {missing.map((one, i) => (
        <li key={`m${i}`}>
          not shown: <b><bdi>{one.key}</bdi></b>: <bdi>{one.reason}</bdi>
        </li>
      ))}
    </ul>
  );
}
