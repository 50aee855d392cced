import assert from "node:assert/strict";
import { test } from "node:test";
import { list, listed } from "../src/controls";
import { decimals, fixed, quoted, shown, signed } from "../src/format";
import { bytes, floats } from "../src/parts";
import { formatRoute, parseRoute } from "../src/route";

test("a view has one address, and comes back from it", () => {
  const route = { tab: "samples" as const, query: { q: "ä b&c=#1", labels: list(["a,b", "c"]), dir: "" } };
  const hash = formatRoute(route);
  assert.deepEqual(parseRoute(hash), { tab: "samples", query: { q: "ä b&c=#1", labels: list(["a,b", "c"]) } });
  assert.equal(formatRoute(parseRoute(hash)!), hash);
  assert.deepEqual(listed(route.query.labels), ["a,b", "c"]);
});

test("anchors of the static page are not views", () => {
  for (const hash of ["", "#stage-restore", "#/", "#/unknown", "#/samples/", "#/samples?x#y".replace("?x#y", "/y")]) assert.equal(parseRoute(hash), null, hash);
});

test("numbers for people", () => {
  assert.deepEqual([0, 31.2345, -0.00012345, 1234567, NaN, null, Infinity].map((value) => shown(value)), ["0", "31.23", "−1.23e−4", "1.23e+6", "–", "–", "∞"]);
  assert.deepEqual([0.25, -0.25].map(signed), ["+0.25", "−0.25"]);
});

test("all numbers of a column have as many decimals", () => {
  assert.deepEqual([[33, 26.4, NaN], [0.95, -0.1], [1, 2], [123456.5], []].map(decimals), [2, 4, 0, 0, 0]);
  assert.deepEqual([33, -26.456, NaN].map((value) => fixed(value, 2)), ["33.00", "−26.46", "–"]);
});

test("arrays come back from text", () => {
  assert.deepEqual([...bytes("AP8=")], [0, 255]);
  assert.deepEqual([...floats("AACAPwAAwH8=")], [1, NaN]);
});

test("words of a command line are quoted where they need it", () => {
  assert.equal(quoted("studies/a-1"), "studies/a-1");
  assert.equal(quoted("it's $HOME"), `'it'"'"'s $HOME'`);
});
