/** Numbers for people. */

/** Three significant digits for small numbers, two decimals for others; a true minus. */
export function shown(value: number | null | undefined, digits = 4): string {
  if (value == null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : Number(value.toPrecision(digits)).toString();
  return text.replaceAll("-", "−");
}

/** With its sign. */
export const signed = (value: number): string => (value > 0 ? `+${shown(value)}` : shown(value));

/** 12 345 with narrow spaces. */
export const counted = (count: number): string => count.toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

/** A word of a shell command. */
export const quoted = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);
