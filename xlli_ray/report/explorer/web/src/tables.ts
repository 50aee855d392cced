/** Samples and points as plain columns, to be saved. */
import type { Cell, Table } from "./csv";
import type { NamesPart } from "./data";
import type { Explorer } from "./explorer";
import { names } from "./parts";
import type { Loaded } from "./scatter/load";
import type { Points } from "./scatter/points";

/** Id, name and source of these samples; loads the parts they are in. */
async function told(explorer: Explorer, rows: Iterable<number>): Promise<(row: number) => [string, string, string]> {
  const { partRows } = explorer.study;
  const wanted = [...new Set(Array.from(rows, (row) => Math.floor(row / partRows)))];
  const parts = new Map<number, NamesPart>(
    await Promise.all(wanted.map(async (part) => [part, await names(explorer.parts, part)] as const)),
  );
  return (row) => {
    const part = parts.get(Math.floor(row / partRows));
    const place = row % partRows;
    return [part?.ids[place] ?? "", part?.names[place] ?? "", part?.sources[place] ?? ""];
  };
}

/** All that is known of these samples, in this order: a column for each column of the study, or one for each of its networks. */
export async function samplesTable(explorer: Explorer, rows: Uint32Array): Promise<Table> {
  const { study } = explorer;
  const about = await told(explorer, rows);
  const columns = await Promise.all(study.columns.map(async (column) => ({ column, values: await explorer.values(column.id) })));
  const head = ["row", "sample_id", "name", "source"];
  const cells: ((row: number) => Cell)[] = [];
  for (const { column, values } of columns) {
    for (const [i, model] of (column.models.length ? column.models : [""]).entries()) {
      head.push(model ? `${column.id}@${model}` : column.id);
      cells.push(
        values.words ? (row) => values.words[(values.codes[row] ?? 0) - 1] ?? "" : (row) => single(values.numbers[i * study.rows + row]),
      );
    }
  }
  return { head, rows: Array.from(rows, (row) => [row, ...about(row), ...cells.map((cell) => cell(row))]) };
}

/** The points of the scatter that are drawn. */
export async function pointsTable(explorer: Explorer, points: Points, loaded: Loaded, code: Uint16Array): Promise<Table> {
  const about = await told(explorer, points.row);
  const { names: words, value } = loaded.colouring;
  const network = loaded.models.length > 0;
  const colour = network || !loaded.by ? [] : [loaded.by];
  const rows = Array.from(points.row, (row, i): Cell[] => [
    row,
    ...about(row).slice(0, 2),
    ...(network ? [loaded.models[points.part[i] as number] ?? ""] : []),
    single(points.x[i]),
    single(points.y[i]),
    ...colour.map(() => (value ? single(value(row)) : (words[code[i] as number] ?? ""))),
  ]);
  return {
    head: ["row", "sample_id", "name", ...(network ? ["network"] : []), loaded.xlabel || "x", loaded.ylabel || "y", ...colour],
    rows,
  };
}

/** A number of single precision with the digits it has: 0.1, not 0.10000000149011612. */
export function single(value: number | undefined): number | null {
  if (value === undefined || Number.isNaN(value)) return null;
  for (let digits = 6; digits < 9; digits++) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === Math.fround(value)) return text;
  }
  return value;
}
