// Trace ids of W3C Trace Context: read, never made. A trace belongs to the program; Brevet only writes down which one a call was part of.

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;

/**
 * The trace id, 32 hexadecimal digits, of the values of `traceparent`; "" unless there is exactly one that is valid (W3C Trace Context,
 * 3.2.2 and 3.2.4): no version ff, no trailing parts in version 00, no ids of zeros.
 */
export function traceIdOf(values: readonly unknown[]): string {
  const [value, ...more] = values;
  if (more.length > 0 || typeof value !== "string" || value.length > 256) return "";
  const [, version, trace = "", parent = "", rest] = TRACEPARENT.exec(value) ?? [];
  if (version === "ff" || (version === "00" && rest !== undefined)) return "";
  return /[^0]/.test(trace) && /[^0]/.test(parent) ? trace : "";
}
