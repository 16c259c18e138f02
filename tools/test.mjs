#!/usr/bin/env node
// Runs the tests: `node tools/test.mjs` the hermetic ones, which need npm packages only; `node tools/test.mjs interop` those against
// real peers. Further words narrow to files whose path contains one of them.
import { spawn } from "node:child_process";
import { globSync } from "node:fs";

const [first, ...rest] = process.argv.slice(2);
const interop = first === "interop";
const words = interop ? rest : [first, ...rest].filter((word) => word !== undefined);
const patterns = interop
  ? ["test/interop/**/*.test.ts"]
  : ["packages/*/src/**/*.test.ts", "examples/*/src/**/*.test.ts", "bench/src/**/*.test.ts", "test/e2e/**/*.test.ts", "tools/*.test.mjs"];

const files = globSync(patterns)
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .toSorted();
if (files.length === 0) {
  console.error(`no test file matches ${words.join(" ")}`);
  process.exitCode = 2;
} else {
  const child = spawn(process.execPath, ["--test", "--test-concurrency=2", "--test-timeout=180000", ...files], { stdio: "inherit" });
  child.on("exit", (code, signal) => {
    process.exitCode = signal === null ? (code ?? 1) : 1;
  });
}
