import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { newId } from "@brevet/protocol";
import { ElevationSchema } from "@brevet/protocol/brevet/v1/elevation";
import { type LogEntry, LogEntrySchema, OpeningsErasedSchema } from "@brevet/protocol/brevet/v1/log";
import { storeConformance } from "@brevet/testing/store-conformance";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { evolve, nextDueMs } from "../../elevation/evolve.ts";
import { Log } from "../../log/log.ts";
import { compareProjections, recordsOf } from "../../log/rebuild.ts";
import { verifyLog } from "../../log/verify.ts";
import { APPENDER, appendOnce } from "../testdata/appender.ts";
import { openEmbeddedStore } from "./embedded.ts";

storeConformance("embedded", openEmbeddedStore);

const fold = { evolve, nextDueMs };

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const parent = await mkdtemp(join(tmpdir(), "brevet-embedded-"));
  try {
    await body(join(parent, "data"));
  } finally {
    await rm(parent, { recursive: true });
  }
}

async function withDatabase(directory: string, change: (db: DatabaseSync) => void): Promise<void> {
  const store = await openEmbeddedStore(directory);
  await store[Symbol.asyncDispose]();
  const db = new DatabaseSync(join(directory, "log.db"));
  change(db);
  db.close();
}

test("only the owner can read the directory and what is in it", () =>
  inDirectory(async (directory) => {
    await using log = await Log.open({ store: await openEmbeddedStore(directory), newId, fold });
    await appendOnce(log, "req-00000001");
    assert.equal((await stat(directory)).mode & 0o777, 0o700);
    const files = await readdir(directory);
    assert.deepEqual(files.toSorted(), ["lock.db", "lock.json", "log.db", "log.db-shm", "log.db-wal"]);
    for (const file of files) assert.equal((await stat(join(directory, file))).mode & 0o777, 0o600, file);
  }));

test("a store of a newer format, another program's database, and what is no database are refused and left alone", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "log.db");
    const refused = async (message: RegExp) => {
      const before = await readFile(path);
      await assert.rejects(openEmbeddedStore(directory), { name: "StoreError", code: "format", message });
      assert.deepEqual(await readFile(path), before);
    };
    await withDatabase(directory, (db) => db.exec("UPDATE format SET version = 2"));
    await refused(/format 2, this program reads format 1/);
    await withRemoved(path, () =>
      writeFile(path, "not a database, but long enough to look like a file that somebody wants to keep".repeat(99)),
    );
    await refused(/not a store of Brevet/);
    await withRemoved(path, async () => {
      const db = new DatabaseSync(path);
      db.exec("CREATE TABLE addresses (name TEXT)");
      db.close();
    });
    await refused(/not a store of Brevet/);
  }));

async function withRemoved(path: string, put: () => Promise<void>): Promise<void> {
  await rm(path);
  await put();
}

test("a head that is not that of the last entry is refused as corrupt", () =>
  inDirectory(async (directory) => {
    await withDatabase(directory, (db) => db.exec("UPDATE head SET revision = 3"));
    await assert.rejects(openEmbeddedStore(directory), { code: "corrupt" });
  }));

test("a directory that cannot be made is told as unwritable", () =>
  inDirectory(async (directory) => {
    await writeFile(directory, "in the way");
    await assert.rejects(openEmbeddedStore(directory), { code: "unwritable" });
    await assert.rejects(openEmbeddedStore(join(directory, "below")), { code: "unwritable" });
    await chmod(directory, 0o600);
  }));

test("more commands than may wait are refused at once, and those that wait are not", () =>
  inDirectory(async (directory) => {
    await using store = await openEmbeddedStore(directory, { queueLimit: 3 });
    const gate = Promise.withResolvers<void>();
    const running = store.write(() => gate.promise);
    await new Promise(setImmediate);
    const waiting = [1, 2, 3].map((n) => store.write(async () => n));
    await assert.rejects(
      store.write(async () => 4),
      { code: "unwritable", message: /3 commands wait/ },
    );
    gate.resolve();
    await running;
    assert.deepEqual(await Promise.all(waiting), [1, 2, 3]);
    assert.equal(await store.write(async () => 5), 5);
  }));

test("a flood of other commands does not keep an urgent one out", () =>
  inDirectory(async (directory) => {
    await using store = await openEmbeddedStore(directory, { queueLimit: 2 });
    const gate = Promise.withResolvers<void>();
    const running = store.write(() => gate.promise);
    await new Promise(setImmediate);
    const done: string[] = [];
    const waiting = ["1", "2"].map((n) => store.write(async () => done.push(n)));
    await assert.rejects(
      store.write(async () => done.push("3")),
      { code: "unwritable" },
    );
    const urgent = store.write(async () => done.push("urgent"), { urgent: true });
    gate.resolve();
    await Promise.all([running, urgent, ...waiting]);
    assert.deepEqual(done, ["urgent", "1", "2"]);
  }));

test("an erased value is in none of the store's files any more", () =>
  inDirectory(async (directory) => {
    await using log = await Log.open({ store: await openEmbeddedStore(directory), newId, fold });
    await appendOnce(log, "req-00000001");
    const holding = async () => {
      const files = (await readdir(directory)).filter((file) => file.startsWith("log.db"));
      const contents = await Promise.all(files.map((file) => readFile(join(directory, file), "latin1")));
      return files.filter((_, i) => contents[i]?.includes(APPENDER));
    };
    assert.ok((await holding()).length > 0);
    const { nameCommitment } = (await log.store.principalByName(APPENDER)) ?? assert.fail();
    await log.write(async (tx) => {
      const value = create(OpeningsErasedSchema, { commitments: [nameCommitment] });
      tx.append({ audience: "", actor: "", requestId: "", elevation: "", event: { case: "openingsErased", value } });
    });
    assert.deepEqual(await holding(), []);
  }));

test(
  "on a full disk writes are refused, what was acknowledged stays, and nothing else is there",
  { skip: process.platform === "win32" },
  () =>
    inDirectory(async (directory) => {
      // A limit on the size of files makes writes fail in the middle, as a full disk does.
      const script = join(import.meta.dirname, "../testdata/appender.ts");
      const child = spawn("sh", ["-c", 'ulimit -f 1000; exec "$@"', "sh", process.execPath, script, directory, "8", "full", "100000"]);
      const [output, errors] = await Promise.all([child.stdout.setEncoding("utf8").toArray(), child.stderr.setEncoding("utf8").toArray()]);
      assert.equal(errors.join(""), "");
      const lines = output.join("").split("\n");
      const acknowledged = lines.filter((line) => line.startsWith("ack ")).map((line) => line.split(" "));
      const failed = lines.filter((line) => line.startsWith("failed ")).map((line) => line.split(" "));
      assert.equal(failed.length, 8);
      assert.deepEqual(new Set(failed.map(([, , code]) => code)), new Set(["unwritable"]));
      await using log = await Log.open({ store: await openEmbeddedStore(directory), newId, fold });
      const entries: LogEntry[] = [];
      for await (const { entry } of recordsOf(log.store)) entries.push(fromBinary(LogEntrySchema, entry));
      const found = entries.filter(({ requestId }) => requestId !== "").map(({ requestId, revision }) => ["ack", requestId, `${revision}`]);
      assert.deepEqual(new Set(found.map(String)), new Set(acknowledged.map(String)));
      assert.ok(acknowledged.length > 0);
      assert.ok((await verifyLog(recordsOf(log.store))).ok);
      assert.deepEqual(await compareProjections(log.store, fold), []);
      await appendOnce(log, failed[0]?.[1] ?? assert.fail());
    }),
);

test("a projection that was altered in the file is found by folding the log anew", () =>
  inDirectory(async (directory) => {
    const open = async () => Log.open({ store: await openEmbeddedStore(directory), newId, fold });
    {
      await using log = await open();
      for (const id of ["req-00000001", "req-00000002", "req-00000003"]) await appendOnce(log, id);
      assert.deepEqual(await compareProjections(log.store, fold), []);
    }
    await withDatabase(directory, (db) => {
      const message = db.prepare("SELECT message FROM elevations ORDER BY created LIMIT 1").get()?.["message"];
      assert.ok(message instanceof Uint8Array);
      const altered = fromBinary(ElevationSchema, message);
      altered.holds = 100;
      db.prepare("UPDATE elevations SET message = ? WHERE created = (SELECT min(created) FROM elevations)").run(
        toBinary(ElevationSchema, altered),
      );
      db.exec("DELETE FROM elevations WHERE created = (SELECT max(created) FROM elevations)");
      db.exec("UPDATE requests SET revision = 99 WHERE request = 'req-00000001'; UPDATE principals SET name = 'user:mallory@example.com'");
    });
    await using log = await open();
    const differences = (await compareProjections(log.store, fold)).join("\n");
    for (const expected of [
      /the elevation elv_\w+ is not what/,
      /the elevation elv_\w+ is missing/,
      /the principal prn_/,
      /the request req-00000001/,
    ])
      assert.match(differences, expected);
  }));
