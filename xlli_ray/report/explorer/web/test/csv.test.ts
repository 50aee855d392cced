import assert from "node:assert/strict";
import { test } from "node:test";
import { csv } from "../src/csv";
import { fileName } from "../src/save";
import { single } from "../src/tables";

test("a table is written as RFC 4180 has it", () => {
  const text = csv({
    head: ["name", "value"],
    rows: [
      ['a "b", c', 1.5],
      ["two\nlines", null],
      ["", NaN],
      ["é", -0.25],
    ],
  });
  assert.equal(text, 'name,value\r\n"a ""b"", c",1.5\r\n"two\nlines",\r\n,\r\né,-0.25\r\n');
});

test("a name that a spreadsheet would run as a formula is text, a negative number stays a number", () => {
  assert.equal(
    csv({ head: ["=1+1"], rows: [['=HYPERLINK("x")'], ["@x"], ["-x"], [-3], [Infinity]] }),
    `'=1+1\r\n"'=HYPERLINK(""x"")"\r\n'@x\r\n'-x\r\n-3\r\ninf\r\n`,
  );
});

test("numbers of single precision have the digits they have", () => {
  assert.deepEqual(
    [0.1, 31.4, 1 / 3, NaN, undefined].map((value) => single(value === undefined ? value : Math.fround(value))),
    [0.1, 31.4, 0.33333334, null, null],
  );
  for (let i = 0; i < 2000; i++) {
    const value = Math.fround(Math.sin(i) * 10 ** ((i % 12) - 6));
    assert.equal(Math.fround(single(value)!), value);
  }
});

test("a file's name is one that every system takes", () => {
  assert.equal(fileName("quickstart psnr_y: means", "csv"), "quickstart_psnr_y_means.csv");
  assert.equal(fileName("../../etc/passwd\u202e", "png"), "etc_passwd.png");
  assert.ok(fileName("x".repeat(5000), "svg").length < 90);
});
