// For browser tests: pages opened in Chromium and Firefox. XLLI_PAGES is a JSON object, name → URL, made by tests/report/test_explorer_program.py;
// by hand: XLLI_PAGES='{"toy": "file:///…/report/index.html"}' node --test browser/ (XLLI_BROWSERS=chrome: in that one only)
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, test } from "node:test";
import puppeteer from "puppeteer-core";

const PAGES = JSON.parse(process.env.XLLI_PAGES ?? "{}");
const PROGRAMS = {
  chrome: ["/usr/bin/chromium", "/usr/bin/google-chrome", process.env.XLLI_CHROMIUM],
  firefox: ["/usr/bin/firefox-esr", "/usr/bin/firefox", process.env.XLLI_FIREFOX],
};
const BROWSERS = process.env.XLLI_BROWSERS?.split(",") ?? Object.keys(PROGRAMS);

const started = new Map();
after(async () => {
  for (const browser of started.values()) await (await browser).close();
});

/** `run({ open, browser })` in each browser; `open(page, { hash, width, height, dark, still, scripts })` gives a puppeteer page. `only`: of one. */
export function inBrowsers(name, run, only = Object.keys(PROGRAMS)) {
  for (const [browser, places] of Object.entries(PROGRAMS).filter(([one]) => only.includes(one) && BROWSERS.includes(one))) {
    const executablePath = places.find((place) => place && existsSync(place));
    test(`${name} (${browser})`, { skip: executablePath ? false : `no ${browser}`, timeout: 120_000 }, async () => {
      if (!started.has(browser)) {
        const args = browser === "chrome" ? ["--no-sandbox"] : [];
        started.set(browser, puppeteer.launch({ browser, executablePath, headless: true, args }));
      }
      const troubles = [];
      const opened = [];
      try {
        const open = async (page, how) => {
          opened.push(await (await started.get(browser)).newPage());
          return prepared(opened.at(-1), browser, page, how ?? {}, troubles);
        };
        await run({ browser, open });
        assert.deepEqual(troubles, [], "no message on the console, no request to another host");
      } finally {
        for (const page of opened) await page.close();
      }
    });
  }
}

async function prepared(page, browser, name, { hash = "", width = 1280, height = 900, dark = false, still = false, scripts = true }, troubles) {
  const url = PAGES[name];
  assert.ok(url, `XLLI_PAGES names no page ${name}`);
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && troubles.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => troubles.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const asked = request.url();
    if (!asked.startsWith("data:") && new URL(asked).origin !== new URL(url).origin) troubles.push(`request: ${asked}`);
  });
  await page.setViewport({ width, height });
  const features = [...(dark ? [{ name: "prefers-color-scheme", value: "dark" }] : []), ...(still ? [{ name: "prefers-reduced-motion", value: "reduce" }] : [])];
  if (features.length && browser === "chrome") await page.emulateMediaFeatures(features); // of Firefox it cannot be asked over BiDi
  if (!scripts) await page.setJavaScriptEnabled(false);
  await page.goto(url + hash);
  if (scripts) await page.waitForSelector(".xe, .xe-error");
  return page;
}

/** Texts of all elements that match. */
export const texts = (page, selector) => page.$$eval(selector, (found) => found.map((one) => one.textContent?.trim() ?? ""));

/** Wait until `test`, run in the page, is true. */
export const until = (page, test, ...values) => page.waitForFunction(test, { timeout: 15_000 }, ...values);
