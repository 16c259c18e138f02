// Findings on one document: collects them with their places and puts them in the order of the text.
// Never decides what is a finding.
import { type Finding, FindingSchema, Severity } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import { isMap, isScalar, isSeq, type LineCounter, type Node, type Pair, type YAMLMap } from "yaml";
import { nearest } from "../nearest/nearest.ts";

/** Keys and list positions from the document's root. */
export type Path = readonly (string | number)[];

/** Where in the value of a path: at its key, at the value, or some characters into a text. */
export type Spot = "key" | "value" | number;

/** What a finding says. */
export interface Words {
  readonly rule: string;
  readonly message: string;
  readonly fix: string;
}

/** Findings kept of one document: whoever has more has to begin somewhere. */
const MOST_FINDINGS = 1000;
/** Guesses at what was meant: each costs with the number of candidates. */
const MOST_GUESSES = 100;

/** Collects findings. */
export class Report {
  readonly #text: string;
  readonly #root: unknown;
  readonly #lines: LineCounter;
  readonly #file: string;
  readonly #findings: { readonly finding: Finding; readonly offset: number }[] = [];
  readonly #pairs = new WeakMap<YAMLMap, Map<string, Pair>>();
  #failed = false;
  #unkept = 0;
  #guesses = 0;

  constructor(source: { text: string; root: unknown; lines: LineCounter; file: string }) {
    this.#text = source.text;
    this.#root = source.root;
    this.#lines = source.lines;
    this.#file = source.file;
  }

  error(path: Path, words: Words, spot: Spot = "value"): void {
    this.#add(Severity.ERROR, () => this.#offsetOf(path, spot), words);
  }

  warning(path: Path, words: Words, spot: Spot = "value"): void {
    this.#add(Severity.WARNING, () => this.#offsetOf(path, spot), words);
  }

  note(path: Path, words: Words, spot: Spot = "value"): void {
    this.#add(Severity.NOTE, () => this.#offsetOf(path, spot), words);
  }

  /** An error at a character of the text. */
  errorAt(offset: number, words: Words): void {
    this.#add(Severity.ERROR, () => offset, words);
  }

  /** Something about the whole document. */
  aboutAll(severity: Severity, words: Words): void {
    this.#add(severity, () => undefined, words);
  }

  get failed(): boolean {
    return this.#failed;
  }

  /** The candidate that was probably meant; not looked for any more in a document with very many mistakes. */
  guess(word: string, candidates: () => Iterable<string>): string | undefined {
    this.#guesses += 1;
    return this.#guesses > MOST_GUESSES ? undefined : nearest(word, candidates());
  }

  /** All findings, in the order of the document; those about the whole come first. Of very many, the ones that were found first. */
  findings(): Finding[] {
    const kept = this.#findings.toSorted((a, b) => a.offset - b.offset).map(({ finding }) => finding);
    if (this.#unkept === 0) return kept;
    const words = { rule: "more-findings", message: `${this.#unkept} more findings are left out`, fix: "correct these first" };
    const severity = this.#failed ? Severity.ERROR : Severity.NOTE;
    return [create(FindingSchema, { severity, ...words, file: this.#file, line: 0, column: 0 }), ...kept];
  }

  #add(severity: Severity, offsetOf: () => number | undefined, words: Words): void {
    this.#failed ||= severity === Severity.ERROR;
    if (this.#findings.length >= MOST_FINDINGS) {
      this.#unkept += 1;
      return;
    }
    const offset = offsetOf();
    const place = offset === undefined ? { line: 0, col: 0 } : this.#lines.linePos(offset);
    const { rule, message, fix } = words;
    const finding = create(FindingSchema, { severity, rule, message, fix, file: this.#file, line: place.line, column: place.col });
    this.#findings.push({ finding, offset: offset ?? -1 });
  }

  /** The offset of a path's key or value; of the nearest thing above it that the text has, where it is missing. */
  #offsetOf(path: Path, spot: Spot): number | undefined {
    let node: unknown = this.#root;
    let key: unknown;
    for (const [depth, step] of path.entries()) {
      const next = this.#child(node, step);
      if (next === undefined) return startOf(key) ?? startOf(node) ?? 0;
      ({ key, node } = next);
      if (depth === path.length - 1 && spot === "key") return startOf(key) ?? startOf(node) ?? 0;
    }
    if (path.length === 0) return undefined;
    return typeof spot === "number" ? this.#inside(node, spot) : (startOf(node) ?? startOf(key) ?? 0);
  }

  #child(node: unknown, step: string | number): { key: unknown; node: unknown } | undefined {
    if (typeof step === "number") {
      const item: unknown = isSeq(node) ? node.items[step] : undefined;
      return item === undefined ? undefined : { key: item, node: item };
    }
    const pair = isMap(node) ? this.#pairsOf(node).get(step) : undefined;
    return pair === undefined ? undefined : { key: pair.key, node: pair.value ?? pair.key };
  }

  #pairsOf(map: YAMLMap): Map<string, Pair> {
    const known = this.#pairs.get(map);
    if (known !== undefined) return known;
    const pairs = new Map<string, Pair>();
    for (const pair of map.items) if (isScalar(pair.key) && typeof pair.key.value === "string") pairs.set(pair.key.value, pair);
    this.#pairs.set(map, pairs);
    return pairs;
  }

  /** A place inside a text, exact where the text stands in the document as it is. */
  #inside(node: unknown, chars: number): number {
    if (!isScalar(node) || typeof node.value !== "string" || !node.range) return startOf(node) ?? 0;
    const [start, end] = node.range;
    const at = this.#text.slice(start, end).indexOf(node.value);
    return at === -1 ? start : start + at + chars;
  }
}

function startOf(node: unknown): number | undefined {
  return isNodeLike(node) ? node.range?.[0] : undefined;
}

function isNodeLike(node: unknown): node is Node {
  return isScalar(node) || isMap(node) || isSeq(node);
}
