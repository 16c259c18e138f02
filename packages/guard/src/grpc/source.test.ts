import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fromFile } from "./source.ts";

test("a token file is read again when it changes, and an empty one is no identity", async () => {
  const folder = await mkdtemp(join(tmpdir(), "brevet-guard-"));
  try {
    const file = join(folder, "token");
    const source = fromFile(file);
    await assert.rejects(async () => source("brevet"), /ENOENT/);
    await writeFile(file, "first\n");
    assert.equal(await source("brevet"), "first");
    await writeFile(file, "second one\n");
    assert.equal(await source("brevet"), "second one");
    await writeFile(file, "\n");
    await assert.rejects(async () => source("brevet"), /is empty/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
