// Moves the wall clock of a process, its workers too, by as many milliseconds as a file says, while it runs:
// NODE_OPTIONS="--import …/skew.mjs" BREVET_SKEW_FILE=file. The monotonic clock and timers stay true.
import { readFileSync } from "node:fs";

const file = process.env.BREVET_SKEW_FILE ?? "";
const TrueDate = Date;
const trueNow = Date.now;
let offsetMs = 0;
let readMs = Number.NEGATIVE_INFINITY;

function now() {
  if (performance.now() - readMs > 20) {
    offsetMs = Number(readFileSync(file, "utf8"));
    readMs = performance.now();
  }
  return trueNow() + offsetMs;
}

globalThis.Date = new Proxy(TrueDate, {
  construct: (target, given, self) => Reflect.construct(target, given.length === 0 ? [now()] : given, self),
  apply: () => new TrueDate(now()).toString(),
});
TrueDate.now = now;
