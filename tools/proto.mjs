#!/usr/bin/env node
// Generates code from the protobuf API, checks that what is committed is fresh, and that the API breaks nobody.
// usage: node tools/proto.mjs generate | fresh | breaking
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const generated = [
  { template: "buf.gen.yaml", folder: "packages/protocol/src/gen", module: "proto" },
  { template: "examples/ledger/buf.gen.yaml", folder: "examples/ledger/src/gen", module: "examples/ledger/proto" },
];
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

/** Compares with main, or, on main itself, with the last release or the first commit that has the API. */
function breaking() {
  const against = baseline();
  if (against === undefined) {
    console.log("no earlier API to compare with");
    return;
  }
  try {
    run("buf", ["breaking", "proto", "--against", `.git#ref=${against},subdir=proto`], { stdio: "inherit" });
  } catch {
    process.exitCode = 1;
  }
}

function baseline() {
  const git = (...args) => {
    try {
      return execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    } catch {
      return "";
    }
  };
  const head = git("rev-parse", "HEAD");
  for (const name of ["origin/main", "main"]) {
    const commit = git("rev-parse", "--verify", "--quiet", name);
    if (commit !== "" && commit !== head && git("ls-tree", commit, "proto/brevet") !== "") return git("merge-base", commit, head) || commit;
  }
  const tag = git("describe", "--tags", "--abbrev=0", "--match", "v*");
  if (tag !== "") return tag;
  return git("log", "--format=%H", "--reverse", "--", "proto/brevet").split("\n")[0] || undefined;
}

const actions = { generate, fresh, breaking };
const action = actions[process.argv[2]];
if (action === undefined) {
  console.error("usage: node tools/proto.mjs generate | fresh | breaking");
  process.exitCode = 2;
} else action();
