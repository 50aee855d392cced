/** The tabs, by name: a new one is one file and one line here. */
import type { ComponentType } from "preact";
import { Figures } from "./figures";
import type { Tab } from "./route";
import { Scatter } from "./scatter";
import { SampleView } from "./sample_view";
import { SamplesTable } from "./samples_table";

export interface View {
  tab: Tab;
  title: string;
  component: ComponentType;
  /** Whether it is in the list of tabs; a sample is opened from the others. */
  listed: boolean;
}

export const VIEWS: readonly View[] = [
  { tab: "samples", title: "Samples", component: SamplesTable, listed: true },
  { tab: "scatter", title: "Scatter", component: Scatter, listed: true },
  { tab: "figures", title: "Figures", component: Figures, listed: true },
  { tab: "sample", title: "Sample", component: SampleView, listed: false },
];
