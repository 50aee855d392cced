import assert from "node:assert/strict";
import { test } from "node:test";
import { nearest } from "../src/charts/chart";
import { ramp } from "../src/charts/colours";
import { curves, names, sortedCurve, stepOf } from "../src/charts/curves";
import { dots, limits } from "../src/charts/dots";
import { clouds, embedding, golden, placement } from "../src/charts/embedding";
import { columnsOf, cut } from "../src/charts/frame";
import { heat, matrices } from "../src/charts/heat";
import { coinciding } from "../src/charts/points";
import { quantile } from "../src/charts/strips";
import type { AxisData, CurveData, CurvesView, DotsView, EmbeddingView, HeatView, MatricesView } from "../src/charts/views";

const side: AxisData = { label: "", log: false, falling: false, zero: false, places: [], names: [] };
const curve = (name: string, x: (number | null)[], y: (number | null)[], more: Partial<CurveData> = {}): CurveData => ({
  name,
  colour: "#0072B2",
  x,
  y,
  low: [],
  high: [],
  line: "-",
  marker: "o",
  hollow: [],
  floor: [],
  ...more,
});
const figure = (panels: CurvesView["panels"], more: Partial<CurvesView> = {}): CurvesView => ({
  title: "t",
  panels,
  band: false,
  apart: false,
  share_x: false,
  share_y: false,
  columns: 3,
  legend: true,
  order: [],
  ...more,
});
const NONE = new Set<string>();

test("a curve is drawn in order of x, with what belongs to each point", () => {
  const made = sortedCurve(
    curve("a", [4, 1, 2], [40, 10, null], { low: [39, 9, null], high: [41, 11, null], hollow: [true, false, false] }),
    0,
  );
  assert.deepEqual(
    [made.x, made.y, made.low, made.hollow, made.place],
    [
      [1, 2, 4],
      [10, NaN, 40],
      [9, NaN, 39],
      [false, false, true],
      [1, 2, 0],
    ],
  );
});

test("curves that stand apart are shifted by their place in the legend, symmetrically", () => {
  const x = { ...side, places: [0, 100], names: [] };
  const steps = ["a", "b", "c"].map((name) => stepOf(x, ["a", "b", "c"], name));
  assert.ok(Math.abs(steps[0]! + 1.2) < 1e-12 && steps[1] === 0 && Math.abs(steps[2]! - 1.2) < 1e-12);
  assert.equal(stepOf({ ...side, places: [0, 1], names: ["x", "y"] }, ["a", "b", "c"], "c"), 0.25);
});

test("the legend has the order of the figure, then of appearance", () => {
  const view = figure([{ title: "", curves: [curve("b", [], []), curve("a", [], []), curve("c", [], [])], x: side, y: side, rule: [] }], {
    order: ["c", "gone"],
  });
  assert.deepEqual(names(view), ["c", "b", "a"]);
});

test("a point of a curve says its value and interval; what has no value or is switched off says nothing", () => {
  const panel = {
    title: "p",
    curves: [curve("a", [1, 10, 100], [30, null, 32], { low: [29, null, null], high: [31, null, null] }), curve("b", [1], [20])],
    x: { ...side, label: "σ", log: true },
    y: { ...side, label: "PSNR, dB" },
    rule: [],
  };
  const { hits } = curves.draw(figure([panel]), 400, new Set(["b"]));
  assert.deepEqual(
    hits.map((hit) => [hit.head, ...hit.lines]),
    [
      ["a", "σ: 1", "PSNR, dB: 30 (29 to 31)"],
      ["a", "σ: 100", "PSNR, dB: 32"],
    ],
  );
  assert.equal(curves.draw(figure([panel]), 400, NONE).hits.length, 3);
});

test("a logarithmic axis leaves out what is not above 0", () => {
  const panel = { title: "p", curves: [curve("a", [1, 2, 3], [0, -1, 5])], x: side, y: { ...side, log: true }, rule: [] };
  assert.equal(curves.draw(figure([panel]), 400, NONE).hits.length, 1);
});

test("a falling axis has larger values on the left; panels that share an axis have one scale", () => {
  const panel = (y: number, falling: boolean) => ({
    title: "",
    curves: [curve("a", [1, 9], [0, y])],
    x: { ...side, falling },
    y: side,
    rule: [],
  });
  const [one, nine] = curves.draw(figure([panel(1, true)]), 400, NONE).hits;
  assert.ok(one!.x > nine!.x);
  const heights = (share_y: boolean) =>
    curves.draw(figure([panel(1, false), panel(100, false)], { share_y, columns: 2 }), 1000, NONE).hits.map((hit) => hit.y);
  assert.ok(heights(true)[1]! - heights(true)[3]! > 100, "1 is far below 100 on one scale");
  assert.equal(heights(false)[1], heights(false)[3]);
});

test("panels go below each other where they would be too narrow, whole within the width", () => {
  assert.deepEqual(columnsOf(4, 3, 1000, 290).across, 3);
  assert.deepEqual(columnsOf(4, 3, 358, 290), { across: 1, each: 358 });
  const panel = { title: "p", curves: [curve("a", [1, 2], [3, 4])], x: side, y: side, rule: [] };
  for (const width of [280, 390, 700])
    for (const hit of curves.draw(figure([panel, panel, panel]), width, NONE).hits) assert.ok(hit.x >= 0 && hit.x <= width);
});

test("dots: panels that share an axis have the same ends, room for notes, and the zero they ask for", () => {
  const one = (mean: number) => ({ mean, low: mean - 1, high: mean + 1, photographs: 9, values: 9, reason: "" });
  const panel = {
    title: "",
    xlabel: "dB",
    values: [one(30), null],
    colours: ["#000000", "#000000"],
    spans: [],
    zero: false,
    share: "s",
    markers: "",
    notes: [] as string[],
  };
  const found = limits([
    panel,
    { ...panel, values: [one(50), null] },
    { ...panel, share: "z", zero: true, values: [one(3), null], notes: ["a", ""] },
  ]);
  assert.ok(found.get("s")![0] < 29 && found.get("s")![1] > 51);
  assert.ok(found.get("z")![0] < 0 && found.get("z")![1] > 4.5);
  const view: DotsView = { title: "", rows: ["a", "b"], panels: [panel], columns: 4 };
  assert.deepEqual(
    dots.draw(view, 400, NONE).hits.map((hit) => hit.lines),
    [["dB: 30 (29 to 31)", "9 photographs, 9 values"]],
  );
  assert.deepEqual(dots.table(view).rows, [
    ["", "a", "dB", 30, 29, 31, 9, 9, "", ""],
    ["", "b", "dB", null, null, null, null, null, "", ""],
  ]);
});

test("cells of a heat map say their value; those without one are empty", () => {
  const view: HeatView = {
    title: "",
    rows: ["a", "b"],
    columns: ["x", "y"],
    values: [
      [1, null],
      [-1, 2],
    ],
    colours: [],
    diverging: true,
    digits: 1,
    brackets: [
      [true, false],
      [false, false],
    ],
  };
  const { hits } = heat.draw(view, 500, NONE);
  assert.deepEqual(
    hits.map((hit) => [hit.head, ...hit.lines]),
    [
      ["a", "x", "1, unreliable"],
      ["b", "x", "−1"],
      ["b", "y", "2"],
    ],
  );
  assert.equal(hits[2]!.colour, ramp("RdBu_r", 1));
  const pairs: MatricesView = {
    title: "",
    names: ["a", "b", "c"],
    colours: ["#000000", "#000000", "#000000"],
    panels: [
      {
        title: "net",
        values: [
          [0.5, null],
          [12, 0.001],
        ],
      },
    ],
    columns: 4,
  };
  assert.deepEqual(matrices.table(pairs).rows, [
    ["net", "b", "a", 0.5],
    ["net", "c", "a", 12],
    ["net", "c", "b", 0.001],
  ]);
  assert.equal(matrices.draw(pairs, 390, NONE).hits.length, 3);
});

test("colour maps begin and end as matplotlib's, and are linear between", () => {
  assert.deepEqual([ramp("cividis", 0), ramp("cividis", 1), ramp("RdBu_r", 0.5)], ["#00224e", "#fee838", "#f7f6f6"]);
  assert.deepEqual([ramp("cividis", -1), ramp("cividis", 2)], ["#00224e", "#fee838"]);
});

test("an embedding keeps the shape of a square cloud, and each point its sample", () => {
  const cloud = { title: "PCA", x: [0, 10, 5], y: [0, 1, 0.5], group: [0, 1, 0], rows: [7, 8, 9], square: true };
  const at = placement(cloud, 0, 0, 100);
  assert.ok(Math.abs((at.x(10) - at.x(0)) / (at.y(0) - at.y(1)) - 10) < 1e-9, "one scale on both axes");
  assert.ok(at.y(1) < at.y(0), "upwards");
  const view: EmbeddingView = {
    title: "",
    lines: ["net\nlayer"],
    columns: ["a", "b"],
    groups: [
      { name: "clean", colour: "#000000" },
      { name: "blur", colour: "#ffffff" },
    ],
    panels: [[cloud, null]],
  };
  assert.deepEqual(
    clouds(view).map((one) => one.title),
    ["net layer · a · PCA"],
  );
  assert.deepEqual(
    embedding.draw(view, 390, new Set(["clean"])).hits.map((hit) => [hit.head, hit.row]),
    [["blur", 8]],
  );
});

test("points are drawn in an order that is independent of theirs, each once", () => {
  const order = golden(1000);
  assert.deepEqual(
    [...order].sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  const late = Array.from(order.subarray(500)).filter((i) => i < 500).length;
  assert.ok(late > 200 && late < 300, "the first group is as often on top as the second");
});

test("the value that is meant is the nearest one within reach", () => {
  const hits = [
    { x: 0, y: 0 },
    { x: 10, y: 0 },
  ].map((one) => ({ ...one, head: "", lines: [], colour: "" }));
  assert.deepEqual([nearest(hits, 4, 0), nearest(hits, 6, 0), nearest(hits, 100, 0), nearest([], 0, 0)], [0, 1, -1, -1]);
});

test("long names lose their middle, since they often differ at the end", () => {
  assert.ok(cut("derain-seed0-count8-s64", 70, 10).endsWith("-s64") && cut("derain-seed0-count8-s64", 70, 10).length <= 12);
  assert.equal(cut("short", 100), "short");
});

test("quantiles are linear between neighbours", () => {
  assert.deepEqual([quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 1), quantile([5], 0.3)], [2.5, 4, 5]);
});

test("points that lie together have one label", () => {
  const points = [
    { name: "1", x: 0, y: 0 },
    { name: "2", x: 100, y: 0 },
    { name: "3", x: 2, y: 1 },
    { name: "4", x: NaN, y: 0 },
  ];
  assert.deepEqual(
    coinciding(points, 5, 5).map((group) => group.names),
    [["1", "3"], ["2"]],
  );
});
