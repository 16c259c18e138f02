#!/usr/bin/env node
// Generates code from the protobuf API, checks that what is committed is fresh, and that the API breaks nobody.
// usage: node tools/proto.mjs generate | fresh | breaking | freeze
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const generated = [
  { template: "buf.gen.yaml", folder: "packages/protocol/src/gen", module: "proto" },
  { template: "packages/guard/src/testdata/buf.gen.yaml", folder: "packages/guard/src/testdata/gen" },
  { template: "examples/ledger/buf.gen.yaml", folder: "examples/ledger/src/gen", module: "examples/ledger/proto" },
];
const frozen = "proto/frozen.binpb";
const image = { module: "examples/ledger/proto", file: "examples/ledger/ledger.binpb" };

function run(command, args, options = {}) {
  return execFileSync(command, args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8", ...options });
}

function generate() {
  for (const { template } of generated) run("buf", ["generate", "--template", template]);
  run("buf", ["build", image.module, "-o", image.file]);
}

function filesIn(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .toSorted();
}

/** Compares a fresh generation with what is committed, and puts back what was there. */
function fresh() {
  const keep = mkdtempSync(join(tmpdir(), "brevet-generated-"));
  const outputs = [...generated.map(({ folder }) => folder), image.file];
  try {
    for (const output of outputs) cpSync(output, join(keep, output), { recursive: true });
    generate();
    const stale = outputs.flatMap((output) => {
      const paths = output.endsWith(".binpb")
        ? [output]
        : [...new Set([...filesIn(output), ...filesIn(join(keep, output)).map((path) => path.slice(keep.length + 1))])];
      return paths.filter(
        (path) => !existsSync(path) || !existsSync(join(keep, path)) || !readFileSync(path).equals(readFileSync(join(keep, path))),
      );
    });
    for (const output of outputs) {
      rmSync(output, { recursive: true });
      cpSync(join(keep, output), output, { recursive: true });
    }
    if (stale.length > 0) {
      console.error(`generated code is stale; run "npm run generate":\n  ${stale.join("\n  ")}`);
      process.exitCode = 1;
    }
  } finally {
    rmSync(keep, { recursive: true, force: true });
  }
}

/** Compares with the API as it was frozen, and with main where this is another branch. */
function breaking() {
  const against = existsSync(frozen) ? [frozen] : [];
  if (revision("origin/main") !== "" && revision("origin/main") !== revision("HEAD")) against.push(".git#ref=origin/main,subdir=proto");
  if (against.length === 0) console.log("no earlier API to compare with");
  for (const earlier of against) {
    try {
      run("buf", ["breaking", "proto", "--against", earlier], { stdio: "inherit" });
    } catch {
      process.exitCode = 1;
    }
  }
}

/** Takes today's API as the one that later changes may only add to. For a release; the check passes first. */
function freeze() {
  breaking();
  if (process.exitCode === undefined) run("buf", ["build", "proto", "-o", frozen]);
}

function revision(name) {
  try {
    return execFileSync("git", ["rev-parse", "--verify", "--quiet", name], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "";
  }
}

const actions = { generate, fresh, breaking, freeze };
const action = actions[process.argv[2]];
if (action === undefined) {
  console.error("usage: node tools/proto.mjs generate | fresh | breaking | freeze");
  process.exitCode = 2;
} else action();
