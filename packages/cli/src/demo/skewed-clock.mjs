// Imported before a process of the demo: its wall clock runs ahead, its monotonic clock and timers stay true.
const aheadMs = Number(process.env.BREVET_DEMO_AHEAD_MS);
const TrueDate = Date;
const now = () => TrueDate.now() + aheadMs;

globalThis.Date = class extends TrueDate {
  constructor(...given) {
    if (given.length === 0) super(now());
    else super(...given);
  }

  static now() {
    return now();
  }
};
