/** The views of figures as JSON: the fields of the dataclasses in `xlli_ray/plots`, where they are explained. null: NaN. */

export type Num = number | null;

export interface IntervalData {
  mean: Num;
  low: Num;
  high: Num;
  photographs: number;
  values: number;
  reason: string;
}

export interface AxisData {
  label: string;
  log: boolean;
  falling: boolean;
  zero: boolean;
  places: number[];
  names: string[];
}

export interface CurveData {
  name: string;
  colour: string;
  x: Num[];
  y: Num[];
  low: Num[];
  high: Num[];
  line: string;
  marker: string;
  hollow: boolean[];
  floor: Num[];
}

export interface CurvesView {
  title: string;
  panels: { title: string; curves: CurveData[]; x: AxisData; y: AxisData; rule: number[] }[];
  band: boolean;
  apart: boolean;
  share_x: boolean;
  share_y: boolean;
  columns: number;
  legend: boolean;
  order: string[];
}

export interface DotsView {
  title: string;
  rows: string[];
  panels: {
    title: string;
    xlabel: string;
    values: (IntervalData | null)[];
    colours: string[];
    spans: ([number, number] | null)[];
    zero: boolean;
    share: string;
    markers: string;
    notes: string[];
  }[];
  columns: number;
}

export interface ScatterView {
  title: string;
  xlabel: string;
  ylabel: string;
  panels: { title: string; points: { name: string; colour: string; x: IntervalData; y: IntervalData; marker: string }[] }[];
  columns: number;
}

export interface HistogramsView {
  title: string;
  xlabel: string;
  ylabel: string;
  lines: { title: string; colour: string; centres: Num[]; density: Num[]; curve: Num[]; reach: number; note: string }[][];
}

export interface HeatView {
  title: string;
  rows: string[];
  columns: string[];
  values: Num[][];
  colours: string[];
  diverging: boolean;
  digits: number;
  brackets: boolean[][];
}

export interface MatricesView {
  title: string;
  names: string[];
  colours: string[];
  panels: { title: string; values: Num[][] }[];
  columns: number;
}

export interface StripsView {
  title: string;
  rows: string[];
  colours: string[];
  panels: { title: string; xlabel: string; values: number[][]; limit: number; below: boolean }[];
  markers: string;
}

export interface CloudData {
  title: string;
  x: number[];
  y: number[];
  /** Indices into the figure's groups. */
  group: number[];
  /** Rows of the sample table. */
  rows: number[];
  square: boolean;
}

export interface EmbeddingView {
  title: string;
  lines: string[];
  columns: string[];
  groups: { name: string; colour: string }[];
  panels: (CloudData | null)[][];
}

export const num = (value: Num | undefined): number => value ?? NaN;
export const nums = (values: readonly Num[]): number[] => values.map(num);
