/** A figure on its own: white paper, the drawing, its legend. What is saved as SVG and PNG. */
import { render } from "preact";
import { svgText } from "../save";
import { widthOf, Words } from "./frame";
import { type Entry, INK, type Kind, PAPER } from "./kind";
import { dashes, markPath } from "./marks";

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const WIDTH = 1040;
const PAD = 16;
/** Pixels of a name at most. */
const NAME = 470;

/** Line and marker of a name. */
export function Swatch({ entry }: { entry: Entry }) {
  return (
    <>
      {entry.line && <line x1={0} x2={26} y1={0} y2={0} stroke={entry.colour} stroke-width={1.8} stroke-dasharray={dashes(entry.line)} />}
      {entry.marker && (
        <path d={markPath(entry.marker, 4)} transform="translate(13 0)" fill={entry.colour} stroke={PAPER} stroke-width={0.8} />
      )}
    </>
  );
}

export const labelOf = (entry: Entry): string => (entry.number ? `${entry.number}  ${entry.name}` : entry.name);

/** The legend as part of the drawing, in as many lines as it takes. */
export function LegendLines({ entries, width, top }: { entries: Entry[]; width: number; top: number }) {
  return (
    <>
      {placed(entries, width).map(({ entry, x, line }, i) => (
        <g key={i} transform={`translate(${x} ${top + line * 18})`}>
          <Swatch entry={entry} />
          <Words x={32} y={4} text={labelOf(entry)} width={NAME} />
        </g>
      ))}
    </>
  );
}

export const legendHeight = (entries: Entry[], width: number): number => ((placed(entries, width).at(-1)?.line ?? -1) + 1) * 18;

function placed(entries: Entry[], width: number): { entry: Entry; x: number; line: number }[] {
  let [x, line] = [0, 0];
  return entries.map((entry) => {
    const own = Math.min(NAME, widthOf(labelOf(entry))) + 52;
    if (x + own > width && x > 0) [x, line] = [0, line + 1];
    const out = { entry, x, line };
    x += own;
    return out;
  });
}

/** The figure as an SVG document, with its size. Names in `hidden` are left out. */
export function sheet<View extends { title: string }>(
  kind: Kind<View>,
  view: View,
  hidden: ReadonlySet<string>,
): { svg: string; width: number; height: number } {
  const drawn = kind.draw(view, WIDTH, hidden);
  const entries = kind.legend(view).filter((entry) => !hidden.has(entry.name));
  const [width, height] = [WIDTH + 2 * PAD, drawn.height + 2 * PAD + 28 + legendHeight(entries, WIDTH)];
  const place = document.createElement("div");
  render(
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} font-family={FONT}>
      <title>{view.title}</title>
      <rect width={width} height={height} fill={PAPER} />
      <g transform={`translate(${PAD} ${PAD})`}>
        <text x={0} y={12} font-size={14} font-weight={600} fill={INK}>
          {view.title}
        </text>
        <g transform="translate(0 24)">{drawn.content}</g>
        <LegendLines entries={entries} width={WIDTH} top={drawn.height + 34} />
      </g>
    </svg>,
    place,
  );
  const svg = svgText(place.querySelector("svg") as SVGSVGElement);
  render(null, place);
  return { svg, width, height };
}
