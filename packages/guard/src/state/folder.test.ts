// A folder that cannot be used: the person who named it reads why, and by which option it was named.
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { StateFolder } from "./folder.ts";

test("a state folder that cannot be used is named, with the option and what is wrong", async (t) => {
  const base = await mkdtemp(join(tmpdir(), "brevet-folder-"));
  t.after(() => rm(base, { recursive: true, force: true }));
  const file = join(base, "file");
  await writeFile(file, "");
  await mkdir(join(base, "odd", "key"), { recursive: true });
  await mkdir(join(base, "open"));
  await chmod(join(base, "open"), 0o777);
  for (const [path, problem] of [
    [file, /is a file/],
    [join(file, "below"), /ENOTDIR/],
    [join(base, "odd"), /EISDIR/],
    [join(base, "open"), /others may write/],
  ] as const) {
    assert.throws(
      () => new StateFolder(path, "payments-test"),
      (error) => {
        assert.ok(error instanceof TypeError, String(error));
        assert.ok(error.message.includes(path), error.message);
        assert.match(error.message, /state folder/);
        assert.match(error.message, /--state/);
        assert.match(error.message, problem);
        return true;
      },
    );
  }
});
