import assert from "node:assert/strict";
import { test } from "node:test";
import { catalogue } from "@brevet/protocol";
import type { Command } from "commander";
import { allCommands } from "./cli.ts";
import { processOutput } from "./output/output.ts";

const context = { output: processOutput("text"), signal: new AbortController().signal, end: () => undefined };

function names(commands: readonly Command[], prefix = ""): string[] {
  return commands.flatMap((command) => [`${prefix}${command.name()}`, ...names(command.commands, `${prefix}${command.name()} `)]);
}

test("every command that a remedy names is there", () => {
  const known = new Set(names(allCommands(context)));
  const parents = new Set(
    allCommands(context)
      .filter((command) => command.commands.length > 0)
      .map((command) => command.name()),
  );
  const wrong: string[] = [];
  for (const entry of Object.values(catalogue).filter(({ planned }) => !planned)) {
    for (const text of [entry.callerRemedy, entry.operatorRemedy, entry.what, ...entry.causes]) {
      for (const [, first = "", second = ""] of text.matchAll(/`brevet ([a-z]+)(?: ([a-z]+))?/g)) {
        const name = parents.has(first) ? `${first} ${second}` : first;
        if (!known.has(name)) wrong.push(`${entry.reason}: brevet ${name}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test("every command says what it does", () => {
  const silent = allCommands(context)
    .flatMap((command) => [command, ...command.commands])
    .filter((command) => command.description() === "");
  assert.deepEqual(
    silent.map((command) => command.name()),
    [],
  );
});
