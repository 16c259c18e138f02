// policy check and test: what is wrong with a document, before anything depends on it. Works without an authority.
import { loadPolicy, type PolicyTestResult, runPolicyTests } from "@brevet/policy";
import { type Finding, Severity, SeveritySchema } from "@brevet/protocol/brevet/v1/policy";
import { Command } from "commander";
import { table } from "../output/output.ts";
import { exitStatus } from "../output/status.ts";
import type { CommandContext } from "./context.ts";
import { readPolicyFile } from "./files.ts";

/** `brevet policy …`. */
export function policyCommand(context: CommandContext): Command {
  return new Command("policy").description("policy documents").addCommand(checkCommand(context)).addCommand(testCommand(context));
}

function withFiles(command: Command): Command {
  return command
    .argument("<files...>", "policy documents (YAML)")
    .option(
      "--descriptors <image>",
      "descriptor set of the services (buf build -o, protoc --descriptor_set_out --include_imports); default: what the document names",
    );
}

function checkCommand({ output, end }: CommandContext): Command {
  return withFiles(new Command("check").description("what is wrong with a document: FILE:LINE:COLUMN severity rule: message; fix")).action(
    async (files: string[], options: { descriptors?: string }) => {
      const findings: Finding[] = [];
      for (const file of files) findings.push(...loadPolicy(...(await readPolicyFile(file, options.descriptors))).findings);
      const failed = findings.some((finding) => finding.severity === Severity.ERROR);
      const text = findings.length === 0 ? `${files.join(", ")}: nothing found.` : findings.map(findingLine).join("\n");
      output.answer(text, { ok: !failed, findings: findings.map(findingDocument) });
      if (failed) end(exitStatus.no);
    },
  );
}

function testCommand({ output, end }: CommandContext): Command {
  return withFiles(new Command("test").description("run the tests that stand in the documents")).action(
    async (files: string[], options: { descriptors?: string }) => {
      const rows: string[][] = [];
      const results: unknown[] = [];
      let failed = 0;
      let passed = 0;
      for (const file of files) {
        const { policy, findings } = loadPolicy(...(await readPolicyFile(file, options.descriptors)));
        if (policy === undefined) {
          failed += 1;
          for (const finding of findings) rows.push(["FAIL", findingLine(finding)]);
          results.push({ file, ok: false, findings: findings.map(findingDocument) });
          continue;
        }
        for (const result of runPolicyTests(policy)) {
          if (!result.passed) failed += 1;
          rows.push([result.passed ? "ok" : "FAIL", result.name, result.passed ? "" : resultText(result)]);
          if (result.passed) passed += 1;
          results.push({ file, ...result });
        }
      }
      output.answer(`${table(rows)}\n${passed} passed, ${failed} failed`, { ok: failed === 0, results });
      if (failed > 0) end(exitStatus.no);
    },
  );
}

function resultText({ expected, actual, problem }: PolicyTestResult): string {
  const difference = actual === "" ? "" : `expected ${expected}, got ${actual}`;
  return [difference, problem ?? ""].filter((text) => text !== "").join("; ");
}

/** `FILE:LINE:COLUMN severity rule: message; fix`. */
export function findingLine(finding: Finding): string {
  const place = [finding.file, finding.line || undefined, finding.column || undefined]
    .filter((part) => part !== undefined && part !== "")
    .join(":");
  return `${place} ${severityName(finding)} ${finding.rule}: ${finding.message}${finding.fix === "" ? "" : `; ${finding.fix}`}`;
}

function severityName(finding: Finding): string {
  return (SeveritySchema.value[finding.severity]?.localName ?? "note").toLowerCase();
}

function findingDocument(finding: Finding) {
  const { rule, message, fix, file, line, column } = finding;
  return { severity: severityName(finding), rule, message, fix, file, line, column };
}
