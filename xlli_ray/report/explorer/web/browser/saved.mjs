// For browser tests: what the page saves.
import { until } from "./harness.mjs";

/** What is saved is kept in `window.saved` (name → text or bytes), instead of being written to disk. */
export async function keepSaved(page) {
  await page.evaluate(() => {
    window.saved = {};
    const blobs = new Map();
    URL.createObjectURL = (blob) => {
      blobs.set(`kept:${blobs.size}`, blob);
      return `kept:${blobs.size - 1}`;
    };
    URL.revokeObjectURL = () => {};
    HTMLAnchorElement.prototype.click = function () {
      const [name, blob] = [this.download, blobs.get(this.href)];
      void blob.arrayBuffer().then((data) => (window.saved[name] = [...new Uint8Array(data)]));
    };
  });
}

/** The file that this button gives: name, bytes and text. */
export async function saved(page, button) {
  await page.evaluate((text) => [...document.querySelectorAll("button")].find((one) => one.textContent === text).click(), button);
  await until(page, () => Object.keys(window.saved).length > 0);
  const [[name, bytes]] = await page.evaluate(() => Object.entries(window.saved));
  await page.evaluate(() => (window.saved = {}));
  return { name, bytes: Uint8Array.from(bytes), text: Buffer.from(bytes).toString("utf8") };
}
