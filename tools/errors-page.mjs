#!/usr/bin/env node
// Writes docs/errors.md from the catalogue, so that the page and the code cannot differ.
// usage: node tools/errors-page.mjs write | check
import { readFileSync, writeFileSync } from "node:fs";
import { catalogue, codeName } from "../packages/protocol/src/protocol.ts";

const FILE = new URL("../docs/errors.md", import.meta.url);

function page() {
  const lines = [
    "# Errors",
    "",
    "Every refusal carries exactly one of these reasons: first in the message, and as `google.rpc.ErrorInfo.reason` in the domain `brevet.dev`. `brevet explain REASON` prints the same. Written from the catalogue in `packages/protocol/src/reason`; change it there and run `npm run generate`.",
    "",
    "Retry classes: `never`; `after-approval` (the client library parks the call, asks, and issues it once more); `after-renewal` (a fresh grant, once); `after-reauthentication`; `backoff` (exponential with full jitter, inside the deadline). All but the last carry `grpc-retry-pushback-ms: -1`, so that blind retries stop.",
  ];
  const codes = new Map();
  for (const entry of Object.values(catalogue)) codes.set(entry.code, [...(codes.get(entry.code) ?? []), entry]);
  for (const [code, entries] of codes) {
    lines.push("", `## ${codeName(code)}`);
    for (const entry of entries) {
      lines.push(
        "",
        `### ${entry.reason}`,
        "",
        `${entry.what}${entry.planned ? " *Planned: no release raises it yet.*" : ""}`,
        "",
        ...entry.causes.map((cause) => `- ${cause}`),
        "",
        `| caller | operator | retry | metadata |`,
        `|---|---|---|---|`,
        `| ${cell(entry.callerRemedy)} | ${cell(entry.operatorRemedy)} | \`${entry.retry}\` | ${entry.metadata.map((key) => `\`${key}\``).join(", ")} |`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

function cell(text) {
  return text.replaceAll("|", "\\|");
}

const action = process.argv[2];
if (action === "write") writeFileSync(FILE, page());
else if (action === "check") {
  if (readFileSync(FILE, "utf8") !== page()) {
    console.error('docs/errors.md is not what the catalogue says; run "npm run generate"');
    process.exitCode = 1;
  }
} else {
  console.error("usage: node tools/errors-page.mjs write | check");
  process.exitCode = 2;
}
