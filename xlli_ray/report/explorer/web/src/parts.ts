/** Where parts come from (see `data.ts`), and how their numbers are read. */
import type { ColumnPart, FigurePart, NamesPart, SampleData, Study, ThumbnailsPart } from "./data";

export interface Parts {
  load(name: string): Promise<unknown>;
  /** Whether a part `sample-<row>` is to be had for rows that are not in `held`, and `array-<row>-<index>`: known from the part `study`. */
  served: boolean;
}

declare global {
  interface Window {
    xlli?: { put(name: string, value: unknown): void; fail(name: string, reason: string): void };
  }
}

/** Scripts beside the page. A failed script can be asked for again. */
export function scripts(base = "data/"): Parts {
  const arrived = new Map<string, unknown>();
  const failed = new Map<string, string>();
  const asked = new Map<string, Promise<unknown>>();
  window.xlli = { put: (name, value) => void arrived.set(name, value), fail: (name, reason) => void failed.set(name, reason) };
  const load = (name: string): Promise<unknown> => {
    let one = asked.get(name);
    if (!one) {
      one = new Promise<unknown>((resolve, reject) => {
        const script = document.createElement("script");
        const fail = (why: string): void => {
          asked.delete(name);
          reject(new Error(why));
        };
        script.src = `${base}${name}.js`;
        script.onload = () => {
          script.remove();
          if (arrived.has(name)) resolve(arrived.get(name));
          else fail(failed.get(name) ?? `${base}${name}.js does not hold the part ${name}: write the page again with xlli report`);
          arrived.delete(name);
          failed.delete(name);
        };
        script.onerror = () => {
          script.remove();
          fail(`${base}${name}.js cannot be read: keep the folder data beside the page, or write it again with xlli report`);
        };
        document.head.append(script);
      });
      asked.set(name, one);
      if (name.startsWith("sample-")) forgetOldest(asked);
    }
    return one;
  };
  return { load, served: false };
}

const SAMPLES_KEPT = 24;

/** Samples are large: only the last few are kept. */
function forgetOldest(asked: Map<string, unknown>): void {
  const samples = [...asked.keys()].filter((name) => name.startsWith("sample-"));
  for (const name of samples.slice(0, -SAMPLES_KEPT)) asked.delete(name);
}

/** Part `study`; from then on `parts.served` is known. */
export async function study(parts: Parts): Promise<Study> {
  const about = (await parts.load("study")) as Study;
  parts.served = about.served;
  return about;
}

export const names = (parts: Parts, part: number): Promise<NamesPart> => parts.load(`names-${part}`) as Promise<NamesPart>;
export const thumbnails = (parts: Parts, part: number): Promise<ThumbnailsPart> => parts.load(`thumbnails-${part}`) as Promise<ThumbnailsPart>;
export const sample = (parts: Parts, row: number): Promise<SampleData> => parts.load(`sample-${row}`) as Promise<SampleData>;
export const figure = (parts: Parts, index: number): Promise<FigurePart> => parts.load(`figure-${index}`) as Promise<FigurePart>;

/** Values of column `index`, `rows` for each model: numbers, or words ("" for none). */
export async function column(parts: Parts, index: number): Promise<Values> {
  const part = (await parts.load(`column-${index}`)) as ColumnPart;
  if ("f4" in part) return { numbers: floats(part.f4) };
  return { words: part.words, codes: new Uint32Array(bytes(part.u4).buffer) };
}

/** Words: `words[codes[i] − 1]`, code 0 for none. */
export type Values = { numbers: Float32Array; words?: undefined; codes?: undefined } | { words: string[]; codes: Uint32Array; numbers?: undefined };

export function bytes(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

export const floats = (base64: string): Float32Array => new Float32Array(bytes(base64).buffer);
