/** Small controls that several views use. */
import type { ComponentChildren } from "preact";
import type { ColumnData } from "./data";
import { useExplorer } from "./explorer";

export interface Option {
  value: string;
  text: string;
  group?: string;
}

export function Choice(props: { label: string; value: string; options: readonly Option[]; onChange: (value: string) => void }) {
  const groups = [...new Set(props.options.map((one) => one.group ?? ""))];
  const items = (group: string) =>
    props.options.filter((one) => (one.group ?? "") === group).map((one) => (
      <option key={one.value} value={one.value}>
        {one.text}
      </option>
    ));
  return (
    <label class="xe-choice">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        {groups.map((group) => (group ? <optgroup key={group} label={group}>{items(group)}</optgroup> : items(group)))}
      </select>
    </label>
  );
}

export function Toggle(props: { on: boolean; colour?: string; title?: string; onClick: () => void; children: ComponentChildren }) {
  return (
    <button type="button" class="xe-toggle" aria-pressed={props.on} title={props.title} onClick={props.onClick}>
      {props.colour && <span class="xe-dot" style={{ background: props.colour }} />}
      <bdi>{props.children}</bdi>
    </button>
  );
}

/** Words in the address, separated by commas; names with one are escaped. */
export const listed = (text: string | undefined): string[] => (text ? text.split(",").map(decodeURIComponent) : []);
export const list = (names: readonly string[]): string => names.map((name) => encodeURIComponent(name)).join(",");

/** `psnr_y (restore)`, of a study's columns of numbers with one value a model. */
export function useMeasures(): ColumnData[] {
  return useExplorer().study.columns.filter((one) => one.kind === "number" && one.group !== "sample");
}
