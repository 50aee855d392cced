// For browser tests of a sample: its page, its part, places and colours.
import { readFileSync } from "node:fs";
import { until } from "./harness.mjs";

export const PAGES = JSON.parse(process.env.XLLI_PAGES ?? "{}");

/** A part as it is on disk. */
export function part(name, row) {
  const text = readFileSync(new URL(`data/sample-${row}.js`, PAGES[name]), "utf8");
  return JSON.parse(text.slice(text.indexOf(",") + 1, text.lastIndexOf(")")));
}

export async function sampleView(open, name, query, how = {}) {
  const page = await open(name, { ...how, hash: `#/sample?${new URLSearchParams(query)}` });
  await page.waitForSelector(".xe-pane canvas");
  await until(page, () => ![...document.querySelectorAll(".xe-pane .xe-none")].some((one) => one.textContent === "…"));
  await page.$eval(".xe-panels", (one) => one.scrollIntoView());
  await colours(page);
  return page;
}

/** `colourAt(canvas, u, v)` in the page: of a copy, since Chromium warns of repeated reading from one that is drawn to. */
export const colours = (page) =>
  page.evaluate(() => {
    const copy = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    window.colourAt = (canvas, u, v) => {
      copy.drawImage(canvas, Math.floor(u * canvas.width), Math.floor(v * canvas.height), 1, 1, 0, 0, 1, 1);
      return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
  });

/** What the browser itself makes of a PNG file, at some pixels: [row, column] → [r, g, b]. */
export const levels = (page, planes, places) =>
  page.evaluate(async (png, all) => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return all.map(([row, column]) => [...context.getImageData(column, row, 1, 1).data].slice(0, 3));
  }, planes.png, places);

export async function boxOf(page, selector) {
  return page.$eval(selector, (one) => {
    const { left, top, width, height } = one.getBoundingClientRect();
    return { left, top, width, height };
  });
}
