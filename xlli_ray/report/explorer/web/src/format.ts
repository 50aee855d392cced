/** Numbers for people. */

/** Three significant digits for small numbers, two decimals for others; a true minus. */
export function shown(value: number | null | undefined, digits = 4): string {
  if (value == null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : Number(value.toPrecision(digits)).toString();
  return text.replaceAll("-", "−");
}

/** As many decimals for all numbers of a column: four significant digits of the largest. */
export function decimals(values: ArrayLike<number>): number {
  let largest = 0;
  let whole = true;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (!Number.isFinite(value)) continue;
    largest = Math.max(largest, Math.abs(value));
    whole &&= Number.isInteger(value);
  }
  if (whole || largest === 0) return 0;
  return Math.min(8, Math.max(0, 3 - Math.floor(Math.log10(largest))));
}

/** A number of a column with that many decimals. */
export const fixed = (value: number, places: number): string =>
  Number.isFinite(value) ? value.toFixed(places).replace("-", "−") : shown(value);

/** With its sign. */
export const signed = (value: number): string => (value > 0 ? `+${shown(value)}` : shown(value));

/** 12 345 with narrow spaces. */
export const counted = (count: number): string => count.toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

/** A word of a shell command. */
export const quoted = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);
