// YAML text to a typed document: syntax, keys and types, each fault with its place.
// Never judges what a well-formed document says; check/ does.
import { Severity } from "@brevet/protocol/brevet/v1/policy";
import { CST, isAlias, isMap, isScalar, Lexer, LineCounter, parseDocument, visit } from "yaml";
import type { PolicyDocument } from "./document.ts";
import { Report } from "./report.ts";
import { anything, count, duration, flag, keys, list, named, oneOf, type Shape, text } from "./shape.ts";

/** Longest document, in UTF-16 units: one is read at a stretch, and everything else waits for it. */
export const MAX_DOCUMENT_CHARS = 1024 * 1024;

/** Deepest nesting: no sound document comes near it, and the parser's time and stack grow with it. */
const MAX_DEPTH = 64;

const access = oneOf("open", "authenticated", "elevated", "forbidden");
const selectors = list(text);

const issuer = keys({ issuer: text, audiences: list(text), principal: text }, { groups: text, mayAssert: list(text), initiator: text });
const service = keys(
  {},
  {
    default: access,
    methods: named(keys({ access }, { risk: oneOf("low", "medium", "high", "critical"), bind: oneOf("payload") })),
  },
);
const stage = keys({ approvers: selectors }, { quorum: count, escalate: keys({ after: duration, to: selectors }, {}) });
const entitlement = keys(
  { methods: list(text), requesters: selectors },
  {
    description: text,
    condition: text,
    present: oneOf("any", "grant", "bound"),
    duration: keys({}, { default: duration, max: duration }),
    pending: duration,
    startWithin: duration,
    extend: keys({}, { max: duration, approval: oneOf("same", "none", "never") }),
    reason: keys({}, { required: flag, pattern: text }),
    schedule: keys({ days: list(oneOf("mon", "tue", "wed", "thu", "fri", "sat", "sun")), from: text, to: text, timezone: text }, {}),
    approval: keys({}, { automatic: text, stages: list(stage) }),
    breakGlass: keys({ notify: selectors }, { reviewWithin: duration }),
    streams: keys({ onExpiry: oneOf("terminate", "drain") }, { for: duration }),
    delegates: selectors,
    cooldown: duration,
  },
);
const test = keys(
  {
    name: text,
    call: keys({ principal: text, method: text }, { groups: list(text), claims: anything, request: anything }),
    expect: keys({ decision: oneOf("permit", "deny") }, { reason: text }),
  },
  { with: text },
);
const document: Shape<PolicyDocument> = keys(
  { apiVersion: oneOf("brevet.dev/v1"), audience: text },
  {
    descriptors: text,
    identity: keys({}, { issuers: list(issuer), clientCertificates: keys({ spiffe: list(text) }, {}) }),
    groups: named(list(text)),
    guards: selectors,
    roles: keys({}, { admin: selectors, auditor: selectors }),
    apply: keys({ quorum: count }, {}),
    services: named(service),
    // oxlint-disable-next-line unicorn/no-thenable -- the document's own word
    whenStale: keys({}, { after: duration, then: oneOf("known", "deny"), atMost: duration }),
    mode: oneOf("enforce", "observe"),
    entitlements: named(entitlement),
    tests: list(test),
  },
);

/** Reads a document. Without one, the report has at least one error. */
export function readDocument(source: string, file: string): { document?: PolicyDocument; report: Report } {
  const lines = new LineCounter();
  if (source.length > MAX_DOCUMENT_CHARS) {
    const report = new Report({ text: "", root: undefined, lines, file });
    report.aboutAll(Severity.ERROR, {
      rule: "document-too-long",
      message: `the document has ${source.length} characters, more than ${MAX_DOCUMENT_CHARS}`,
      fix: "split it by audience",
    });
    return { report };
  }
  const tooDeep = depthExceeded(source);
  if (tooDeep !== undefined) {
    const report = new Report({ text: source, root: undefined, lines: linesOf(source), file });
    report.errorAt(tooDeep, { rule: "nested-too-deep", message: `more than ${MAX_DEPTH} levels deep`, fix: "write it flatter" });
    return { report };
  }
  // Keys are compared below: the parser compares each with all others.
  const yaml = parseDocument(source, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, version: "1.2", schema: "core" });
  const report = new Report({ text: source, root: yaml.contents, lines, file });
  for (const problem of [...yaml.errors, ...yaml.warnings])
    report.errorAt(problem.pos[0], { rule: "yaml-syntax", message: problem.message, fix: "correct the YAML" });
  // Aliases would let one place change another unseen, and grow without bound; other keys than texts have no meaning here.
  visit(yaml, (_, node) => {
    if (isAlias(node))
      report.errorAt(node.range?.[0] ?? 0, { rule: "yaml-alias", message: "aliases are not supported", fix: "write the value out" });
    if (!isMap(node)) return;
    const seen = new Set<unknown>();
    for (const { key } of node.items) {
      if (!isScalar(key)) continue;
      const at = key.range?.[0] ?? 0;
      if (seen.has(key.value))
        report.errorAt(at, { rule: "duplicate-key", message: "the key stands here a second time", fix: "keep one of them" });
      seen.add(key.value);
      if (typeof key.value !== "string")
        report.errorAt(at, { rule: "wrong-type", message: "this key is not a text", fix: "put quotes round it" });
    }
  });
  if (report.failed) return { report };
  const read = document(yaml.toJS(), [], report);
  return read === undefined || report.failed ? { report } : { document: read, report };
}

/** Where the text goes deeper than {@link MAX_DEPTH}, by brackets, or by dashes and question marks in one line; in UTF-16 units. */
function depthExceeded(source: string): number | undefined {
  let [offset, brackets, inLine] = [0, 0, 0];
  for (const token of new Lexer().lex(source)) {
    switch (CST.tokenType(token)) {
      case "flow-seq-start":
      case "flow-map-start":
        brackets += 1;
        break;
      case "flow-seq-end":
      case "flow-map-end":
        brackets -= 1;
        break;
      case "seq-item-ind":
      case "explicit-key-ind":
        inLine += 1;
        break;
      case "newline":
        inLine = 0;
        break;
      default:
    }
    if (brackets > MAX_DEPTH || inLine > MAX_DEPTH) return offset;
    // Marks of the lexer's own, which stand for nothing in the text.
    if (token !== CST.DOCUMENT && token !== CST.FLOW_END && token !== CST.SCALAR) offset += token.length;
  }
  return undefined;
}

/** The parser counts lines as it reads; this is for a text that it does not get to read. */
function linesOf(source: string): LineCounter {
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let at = source.indexOf("\n"); at !== -1; at = source.indexOf("\n", at + 1)) lines.addNewLine(at + 1);
  return lines;
}
