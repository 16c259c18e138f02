import assert from "node:assert/strict";
import { test } from "node:test";
import { printable, table } from "./output.ts";

test("words of other people cannot move the cursor, colour the terminal or turn the text", () => {
  const hostile = "ok\u001b[2K\u001b]0;owned\u0007 \u202Eevil\u202C \u0085x\rover";
  const shown = printable(hostile);
  assert.doesNotMatch(shown, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  assert.match(shown, /^ok/);
  assert.equal(printable("two\nlines, Grüße 東京"), "two\nlines, Grüße 東京");
});

test("columns line up", () => {
  assert.equal(
    table([
      ["a", "long", "x"],
      ["bbb", "c", "y"],
    ]),
    "a    long  x\nbbb  c     y",
  );
});
