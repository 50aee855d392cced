/** The scatter as an SVG document: axes and legend as text, points as an image of the canvas. */
import { render } from "preact";
import type { Entry } from "../charts/kind";
import { FONT, legendHeight, LegendLines } from "../charts/sheet";
import { svgText } from "../save";

export function plotSvg(plot: HTMLElement, entries: Entry[]): { svg: string; width: number; height: number } {
  const [axes, canvas] = [plot.querySelector("svg"), plot.querySelector("canvas")];
  if (!axes || !canvas) throw new Error("the plot is not drawn yet");
  const [width, tall] = [axes.clientWidth, axes.clientHeight];
  const height = tall + legendHeight(entries, width - 24) + 8;
  const place = document.createElement("div");
  render(
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} font-family={FONT}>
      <rect width={width} height={height} fill="#ffffff" />
      <g />
      <image href={canvas.toDataURL("image/png")} width={width} height={tall} />
      <g transform="translate(12 0)">
        <LegendLines entries={entries} width={width - 24} top={tall + 6} />
      </g>
    </svg>,
    place,
  );
  place.querySelector("g")?.append(...Array.from(axes.childNodes, (node) => node.cloneNode(true)));
  const svg = svgText(place.querySelector("svg") as SVGSVGElement);
  render(null, place);
  return { svg, width, height };
}
