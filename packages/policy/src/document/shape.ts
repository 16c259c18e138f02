// Shapes of YAML values: small readers that check a value, say what is wrong with it and where, and give it a type.
// Never knows what a key means; document.ts and read.ts do.
import { nearest } from "../nearest/nearest.ts";
import { durationMs } from "./duration.ts";
import type { Path, Report } from "./report.ts";

/** Reads one value: typed, or undefined after reporting why not. */
export type Shape<T> = (value: unknown, at: Path, report: Report) => T | undefined;
/** What a shape gives. */
export type Of<S> = S extends Shape<infer T> ? T : never;
type Shapes = Readonly<Record<string, Shape<unknown>>>;
type ObjectOf<R extends Shapes, O extends Shapes> = { readonly [K in keyof R]: Of<R[K]> } & { readonly [K in keyof O]?: Of<O[K]> };

function wrong(value: unknown, wanted: string, at: Path, report: Report, fix = `write a ${wanted}`): undefined {
  report.error(at, { rule: "wrong-type", message: `${nameOf(at)} is ${kindOf(value)}, not a ${wanted}`, fix });
}

/** A text. */
export const text: Shape<string> = (value, at, report) => {
  if (typeof value === "string" && value !== "") return value;
  const quotable = typeof value === "number" || typeof value === "boolean";
  return wrong(value, "text", at, report, quotable ? `put quotes round it: "${value}"` : "write a text");
};

/** Yes or no. */
export const flag: Shape<boolean> = (value, at, report) =>
  typeof value === "boolean" ? value : wrong(value, "boolean", at, report, "write true or false");

/** A whole number from 0. */
export const count: Shape<number> = (value, at, report) =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0
    ? value
    : wrong(value, "whole number", at, report, "write 0, 1, 2 …");

/** A length of time, as written. */
export const duration: Shape<string> = (value, at, report) => {
  if (typeof value === "string" && durationMs(value) !== undefined) return value;
  return wrong(value, "duration", at, report, "write a whole number and a unit: 30s, 15m, 1h, 2d");
};

/** One of some words. */
export function oneOf<const W extends string>(...words: readonly W[]): Shape<W> {
  return (value, at, report) => {
    const found = words.find((word) => word === value);
    if (found !== undefined) return found;
    const guess = typeof value === "string" ? nearest(value, words) : undefined;
    const fix = guess === undefined ? `write ${words.join(", ")}` : `did you mean ${guess}?`;
    const said = typeof value === "string" ? `"${value}"` : kindOf(value);
    report.error(at, { rule: "wrong-type", message: `${nameOf(at)} is ${said}, not one of ${words.join(", ")}`, fix });
    return undefined;
  };
}

/** A list. */
export function list<T>(element: Shape<T>): Shape<readonly T[]> {
  return (value, at, report) => {
    if (!Array.isArray(value)) return wrong(value, "list", at, report, "write [a, b], or one element a line after a dash");
    const read = value.map((each: unknown, index) => element(each, [...at, index], report));
    return read.every((each) => each !== undefined) ? read : undefined;
  };
}

/** Any names with values of one shape. */
export function named<T>(element: Shape<T>): Shape<Readonly<Record<string, T>>> {
  return (value, at, report) => {
    if (!isRecord(value)) return wrong(value, "mapping", at, report, "write `name: value` lines below it");
    const entries: [string, T][] = [];
    for (const [key, each] of Object.entries(value)) {
      const read = element(each, [...at, key], report);
      if (read === undefined) return undefined;
      entries.push([key, read]);
    }
    return Object.fromEntries(entries);
  };
}

/** Any JSON value below a mapping, as it is. */
export const anything: Shape<Readonly<Record<string, unknown>>> = (value, at, report) =>
  isRecord(value) ? value : wrong(value, "mapping", at, report, "write `name: value` lines below it");

/** Known keys, some of them required. */
export function keys<R extends Shapes, O extends Shapes>(required: R, optional: O): Shape<ObjectOf<R, O>> {
  const known: Shapes = { ...required, ...optional };
  return (value, at, report) => {
    if (!isRecord(value)) return wrong(value, "mapping", at, report, `it has the keys ${Object.keys(known).join(", ")}`);
    let good = true;
    for (const key of Object.keys(value)) {
      if (Object.hasOwn(known, key)) continue;
      const guess = nearest(key, Object.keys(known));
      const fix = guess === undefined ? `known here are ${Object.keys(known).join(", ")}` : `did you mean ${guess}?`;
      report.error(
        [...at, key],
        { rule: "unknown-key", message: `unknown key ${key}${at.length === 0 ? "" : ` in ${nameOf(at)}`}`, fix },
        "key",
      );
      good = false;
    }
    const read: Record<string, unknown> = {};
    for (const [key, shape] of Object.entries(known)) {
      if (!Object.hasOwn(value, key)) {
        if (!Object.hasOwn(required, key)) continue;
        report.error(at, { rule: "missing-key", message: `${nameOf(at)} lacks ${key}`, fix: `add ${key}:` }, "key");
        good = false;
        continue;
      }
      const result = shape(value[key], [...at, key], report);
      if (result === undefined) good = false;
      else read[key] = result;
    }
    // Each key was read by its own shape just above.
    return good ? (read as ObjectOf<R, O>) : undefined;
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function nameOf(at: Path): string {
  return at.length === 0 ? "the document" : at.join(".").replaceAll(/\.(\d+)/g, "[$1]");
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (value === "") return "an empty text";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "string") return `the text "${value.slice(0, 60)}"`;
  return typeof value === "number" || typeof value === "boolean" ? `the ${typeof value} ${value}` : "a mapping";
}
