// From text to an enforceable policy: read, check, compile.
// Never does I/O, and never gives out a policy whose document has an error.
import type { Finding } from "@brevet/protocol/brevet/v1/policy";
import { checkDocument } from "../check/check.ts";
import { compilePolicy } from "../compile/compile.ts";
import type { CompiledPolicy } from "../compile/compiled.ts";
import { type Descriptors, readDescriptors } from "../descriptors/descriptors.ts";
import { readDocument } from "../document/read.ts";

/** What a document is loaded with. */
export interface LoadOptions {
  /** Name for the findings. */
  readonly file?: string;
  /** Serialized google.protobuf.FileDescriptorSet; without it names are not checked, and conditions cannot read the request. */
  readonly descriptors?: Uint8Array;
  /** The authority's own audience, which no policy may use; default `brevet`. */
  readonly authorityAudience?: string;
}

/** The compiled policy, where the document has no error; and every finding, in the order of the document. */
export interface Loaded {
  readonly policy?: CompiledPolicy;
  readonly findings: Finding[];
}

/** Reads, checks and compiles a document. Pure: the same text gives the same answer. */
export function loadPolicy(text: string, options: LoadOptions = {}): Loaded {
  const { document, report } = readDocument(text, options.file ?? "");
  if (document === undefined) return { findings: report.findings() };
  let descriptors: Descriptors | undefined;
  if (options.descriptors !== undefined && options.descriptors.length > 0) {
    const read = readDescriptors(options.descriptors);
    if (read.ok) ({ descriptors } = read);
    else {
      const path = document.descriptors === undefined ? ["audience"] : ["descriptors"];
      report.error(path, {
        rule: "descriptors-unreadable",
        message: `the descriptors are no FileDescriptorSet: ${read.problem}`,
        fix: "make them with `buf build -o FILE`",
      });
    }
  }
  checkDocument(document, descriptors, report, options.authorityAudience);
  return report.failed
    ? { findings: report.findings() }
    : { policy: compilePolicy(document, text, descriptors), findings: report.findings() };
}
