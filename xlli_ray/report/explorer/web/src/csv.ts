/** Plain columns, and their text as CSV (RFC 4180). */

export type Cell = string | number | null;

export interface Table {
  head: string[];
  rows: Cell[][];
}

/** The text of a table; null and NaN are empty. Words that a spreadsheet would take for a formula get an apostrophe in front: names of files
 * and labels are not to be trusted. */
export function csv(table: Table): string {
  return [table.head, ...table.rows].map((row) => `${row.map(field).join(",")}\r\n`).join("");
}

function field(value: Cell): string {
  if (value === null || (typeof value === "number" && Number.isNaN(value))) return "";
  if (typeof value === "number") return value === Infinity ? "inf" : value === -Infinity ? "-inf" : String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
