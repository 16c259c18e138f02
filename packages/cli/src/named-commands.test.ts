// What messages and remedies tell people to run exists.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { catalogue } from "@brevet/protocol";
import type { Command } from "commander";
import { allCommands } from "./cli.ts";
import { processOutput } from "./output/output.ts";

const PACKAGES = fileURLToPath(new URL("../../", import.meta.url));
const commands = allCommands({ output: processOutput("text"), signal: AbortSignal.abort(), end: () => 0 });

/** Commands that a text names and that do not exist; a second word counts where the first is a family of commands. */
function unknownIn(text: string): string[] {
  const known = (among: readonly Command[], word: string) => among.find((one) => one.name() === word || one.aliases().includes(word));
  return [...text.matchAll(/\bbrevet ([a-z]+)(?: ([a-z]+))?/g)].flatMap(([, first = "", second]) => {
    const command = known(commands, first);
    if (command === undefined) return [`brevet ${first}`];
    const lost = second !== undefined && command.commands.length > 0 && known(command.commands, second) === undefined;
    return lost ? [`brevet ${first} ${second}`] : [];
  });
}

test("a command that does not exist is found, alone and in a family", () => {
  const text = "Run `brevet fly`, brevet policy sing, brevet policy check, or brevet show elv_1";
  assert.deepEqual(unknownIn(text), ["brevet fly", "brevet policy sing"]);
});

test("every command that a reason's texts name exists", () => {
  for (const entry of Object.values(catalogue)) assert.deepEqual(unknownIn(JSON.stringify(entry)), [], entry.reason);
});

test("every command that a message names exists", () => {
  const files = globSync("*/src/**/*.ts", { cwd: PACKAGES }).filter((file) => !/\/(gen|conformance|testdata)\/|\.test\.ts$/.test(file));
  assert.ok(files.length > 100);
  const wrong = files.flatMap((file) => {
    const lines = readFileSync(`${PACKAGES}${file}`, "utf8").split("\n");
    return lines.filter((line) => !/^\s*(\/\/|\/?\*)/.test(line)).flatMap((line) => unknownIn(line).map((name) => `${file}: ${name}`));
  });
  assert.deepEqual(wrong, []);
});
