// Weekly schedules in a time zone: when an entitlement may be asked for and started.
// Never reads a clock: the instant is given.

/** Days of the week, 0 is Sunday, in the schedule's own time zone. */
export interface Schedule {
  readonly days: ReadonlySet<number>;
  /** Minutes after midnight; `toMinute` less than `fromMinute` means the next day. */
  readonly fromMinute: number;
  readonly toMinute: number;
  /** IANA name. */
  readonly timezone: string;
}
