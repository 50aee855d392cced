/** What all parts of the explorer share: the study, where its parts come from, the view, the samples that are chosen. */
import { type Signal, signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { ColumnData, Study } from "./data";
import { column, type Parts, type Values } from "./parts";
import { Router } from "./route";

export class Explorer {
  /** Rows that were brushed in the scatter; null: no brush. The table shows only these. */
  readonly brushed: Signal<ReadonlySet<number> | null> = signal(null);
  /** Rows of the table as filtered and sorted: where "next" and "previous" of the sample view lead. */
  readonly order: Signal<Uint32Array> = signal(new Uint32Array());
  private readonly columns = new Map<string, Promise<Values>>();

  constructor(
    readonly parts: Parts,
    readonly study: Study,
    readonly router: Router,
  ) {}

  /** The column called `id` (`restore/psnr_y`), if there is one. */
  about(id: string): ColumnData | undefined {
    return this.study.columns.find((one) => one.id === id);
  }

  /** Its values. */
  values(id: string): Promise<Values> {
    let found = this.columns.get(id);
    if (!found) {
      const index = this.study.columns.findIndex((one) => one.id === id);
      found = index < 0 ? Promise.reject(new Error(`there is no column ${id}`)) : column(this.parts, index);
      found.catch(() => this.columns.delete(id));
      this.columns.set(id, found);
    }
    return found;
  }

  /** Whether the part of a sample is to be had. */
  held(row: number): boolean {
    return this.parts.served || this.study.held.includes(row);
  }
}

export const Here = createContext<Explorer | null>(null);

export function useExplorer(): Explorer {
  const found = useContext(Here);
  if (!found) throw new Error("outside of an explorer");
  return found;
}

/** What a promise gave, while it is that of the same `key`; an error as its message. */
export function useLoaded<T>(key: string, load: () => Promise<T>): { value?: T; error?: string } {
  const [state, set] = useState<{ key: string; value?: T; error?: string }>({ key: "" });
  useEffect(() => {
    let current = true;
    load().then(
      (value) => current && set({ key, value }),
      (error: unknown) => current && set({ key, error: error instanceof Error ? error.message : String(error) }),
    );
    return () => void (current = false);
  }, [key]);
  return state.key === key ? state : {};
}
