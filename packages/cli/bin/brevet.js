#!/usr/bin/env node
// Starts the command line on a Node that can run it: this one if it is new enough, otherwise the one that the project pins.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

function pinnedNode() {
  try {
    const folder = dirname(createRequire(import.meta.url).resolve("node/package.json"));
    return join(folder, "bin", process.platform === "win32" ? "node.exe" : "node");
  } catch {
    return undefined;
  }
}

if (major >= 24 || (major === 22 && minor >= 18)) {
  await import(main);
} else {
  const node = pinnedNode();
  if (node === undefined) {
    console.error(`brevet needs Node 22.18 or newer; this is ${process.version}. Run "npm ci" in the checkout, which installs one.`);
    process.exitCode = 3;
  } else {
    const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: "inherit" });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
    child.on("error", (error) => {
      console.error(`brevet could not start ${node}: ${error.message}`);
      process.exitCode = 3;
    });
    child.on("exit", (code, signal) => {
      process.exitCode = code ?? 128 + (constants.signals[signal ?? "SIGKILL"] ?? 0);
    });
  }
}
