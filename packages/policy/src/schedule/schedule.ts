// Weekly schedules in a time zone: when an entitlement may be asked for and started.
// Never reads a clock: the instant is given. A schedule whose end is before its start runs into the next day.

/** Days of the week, 0 is Sunday, in the schedule's own time zone. A span belongs to the day on which it starts. */
export interface Schedule {
  readonly days: ReadonlySet<number>;
  /** Minutes after midnight, 0 to 1439. */
  readonly fromMinute: number;
  /** The first minute outside, 1 to 1440; less than `fromMinute` means on the next day. */
  readonly toMinute: number;
  /** IANA name. */
  readonly timezone: string;
}

const MINUTE_MS = 60_000;
const DAY_MINUTES = 1440;
const WEEK_MINUTES = 7 * DAY_MINUTES;

/** Minutes after midnight of `HH:MM`, 00:00 to 24:00; undefined for anything else. */
export function minuteOfDay(text: string): number | undefined {
  const [, hours, minutes] = /^(\d\d):([0-5]\d)$/.exec(text) ?? [];
  const minute = Number(hours) * 60 + Number(minutes);
  return minute <= DAY_MINUTES ? minute : undefined;
}

/** Whether the runtime knows a time zone. */
export function isTimezone(name: string): boolean {
  try {
    formatterOf(name);
    return true;
  } catch {
    return false;
  }
}

/** Whether the schedule allows an instant, and if not, when it next does: the first minute, found within nine days. */
export function scheduleAllows(schedule: Schedule, nowMs: number): { readonly open: boolean; readonly opensAtMs?: number } {
  if (isOpen(schedule, localMinute(schedule, nowMs))) return { open: true };
  const minute = Math.floor(nowMs / MINUTE_MS) * MINUTE_MS;
  const end = nowMs + 9 * DAY_MINUTES * MINUTE_MS;
  // Local time runs evenly between shifts of the clock: leap to where the next span would start, and close in.
  for (let at = minute + MINUTE_MS; at <= end; ) {
    const local = localMinute(schedule, at);
    if (isOpen(schedule, local)) return { open: false, opensAtMs: firstOpen(schedule, at) };
    const wait = minutesToOpen(schedule, local);
    if (wait === undefined) break;
    // A shift is at most a few hours: go short of it, then by quarters of an hour.
    at += (wait > 240 ? wait - 180 : Math.min(wait, 15)) * MINUTE_MS;
  }
  return { open: false };
}

/** The first minute of the span that is open at `at`, looking back at most a quarter of an hour. */
function firstOpen(schedule: Schedule, at: number): number {
  let first = at;
  while (at - first < 15 * MINUTE_MS && isOpen(schedule, localMinute(schedule, first - MINUTE_MS))) first -= MINUTE_MS;
  return first;
}

/** Whether a minute of the local week, 0 is Sunday 00:00, lies in the schedule. */
function isOpen(schedule: Schedule, weekMinute: number): boolean {
  const day = Math.floor(weekMinute / DAY_MINUTES);
  const minute = weekMinute % DAY_MINUTES;
  if (schedule.fromMinute < schedule.toMinute) return schedule.days.has(day) && minute >= schedule.fromMinute && minute < schedule.toMinute;
  if (schedule.days.has(day) && minute >= schedule.fromMinute) return true;
  return schedule.days.has((day + 6) % 7) && minute < schedule.toMinute;
}

function minutesToOpen(schedule: Schedule, weekMinute: number): number | undefined {
  const waits = [...schedule.days].map(
    (day) => (day * DAY_MINUTES + schedule.fromMinute - weekMinute + WEEK_MINUTES) % WEEK_MINUTES || WEEK_MINUTES,
  );
  return waits.length === 0 ? undefined : Math.min(...waits);
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatterOf(timezone: string): Intl.DateTimeFormat {
  let formatter = formatters.get(timezone);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat("en-GB", {
      timeZone: timezone,
      weekday: "short",
      hour: "2-digit",
      minute: "2-digit",
      hourCycle: "h23",
    });
    formatters.set(timezone, formatter);
  }
  return formatter;
}

const DAY_NUMBERS: Readonly<Record<string, number>> = { Sun: 0, Mon: 1, Tue: 2, Wed: 3, Thu: 4, Fri: 5, Sat: 6 };

function localMinute(schedule: Schedule, atMs: number): number {
  let [day, hour, minute] = [0, 0, 0];
  for (const { type, value } of formatterOf(schedule.timezone).formatToParts(atMs)) {
    if (type === "weekday") day = DAY_NUMBERS[value] ?? 0;
    else if (type === "hour") hour = Number(value);
    else if (type === "minute") minute = Number(value);
  }
  return day * DAY_MINUTES + hour * 60 + minute;
}
