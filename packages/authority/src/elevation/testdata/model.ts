// A second, simpler telling of an elevation's life, to hold the rules against. Written from the promises, not from the rules: people by
// name, times in minutes, no log.
import { AUTOMATIC, ENTITLEMENTS, type EntitlementName } from "./people.ts";

/** States, as the model names them. */
export type Phase = "PENDING" | "SCHEDULED" | "ACTIVE" | "DENIED" | "WITHDRAWN" | "LAPSED" | "EXPIRED" | "ENDED" | "REVOKED";

/** One elevation of the model. Times in minutes. */
export interface Modelled {
  readonly entitlement: EntitlementName;
  readonly requester: string;
  readonly initiator: string | undefined;
  readonly asked: number;
  readonly startAt: number | undefined;
  phase: Phase;
  length: number;
  /** The shortest that an approver allowed, where one allowed less. */
  narrowed: number | undefined;
  pendingUntil: number;
  startBy: number;
  start: number;
  end: number;
  finishedAt: number;
  holds: number;
  ballots: { who: string; stage: number }[];
  extension: number | undefined;
  /** When an extension was denied last. */
  turnedDown: number | undefined;
  /** When the stage that votes now opened. */
  opened: number;
  /** Stages in which others were asked too. */
  escalated: number[];
  reviewed: boolean;
}

const PENDING = 30;
const START_WITHIN = 15;

export class Model {
  now = 0;
  readonly all: Modelled[] = [];
  readonly waiting = new Set<number>();

  /** The elevation as time has left it. */
  settled(one: Modelled): Modelled {
    if (one.phase === "PENDING" && this.now >= one.pendingUntil) this.#finish(one, "LAPSED", one.pendingUntil);
    this.#escalate(one);
    if (one.phase === "SCHEDULED" && one.startAt !== undefined && this.now >= one.startAt) this.#activate(one, one.startAt);
    if (one.phase === "SCHEDULED" && one.startAt === undefined && this.now >= one.startBy) this.#finish(one, "LAPSED", one.startBy);
    if (one.phase === "ACTIVE" && this.now >= one.end) this.#finish(one, "EXPIRED", one.end);
    return one;
  }

  /** The stage that votes count for now; undefined where none do. */
  openStage(one: Modelled): number | undefined {
    if (one.phase !== "PENDING" && one.extension === undefined) return undefined;
    const stages = ENTITLEMENTS[one.entitlement].stages;
    return stages.findIndex((rule, at) => one.ballots.filter((ballot) => ballot.stage === at).length < rule.quorum);
  }

  /** Whom the stage that nobody answered in time is put to as well: once, and not when it is too late anyhow. */
  #escalate(one: Modelled): void {
    const stage = this.openStage(one);
    const later = stage === undefined ? undefined : ENTITLEMENTS[one.entitlement].stages[stage]?.later;
    if (stage === undefined || later === undefined || one.escalated.includes(stage) || this.now < one.opened + later.after) return;
    if (one.phase === "PENDING" || this.now < one.end) one.escalated.push(stage);
  }

  /** The index of the elevation that was opened or found; undefined where it is refused. */
  request(
    who: string,
    name: EntitlementName,
    asked: number | undefined,
    startIn: number | undefined,
    waiting: boolean,
    initiator?: string,
  ) {
    const entitlement = ENTITLEMENTS[name];
    const length = asked ?? 10;
    const startAt = startIn === undefined ? undefined : this.now + startIn;
    if (!entitlement.requesters.includes(who) || length > entitlement.max || (entitlement.glass && startAt !== undefined)) return undefined;
    const mine = this.all.filter((one) => one.requester === who && one.entitlement === name).map((one) => this.settled(one));
    const found = mine.findLast((one) => isOpen(one) && one.asked === length && one.startAt === startAt);
    if (found) {
      found.holds += 1;
      return this.all.indexOf(found);
    }
    if (entitlement.glass && mine.some((one) => !one.reviewed)) return undefined;
    if (mine.some((one) => one.phase === "DENIED" && one.finishedAt + entitlement.cooldown > this.now)) return undefined;
    const one: Modelled = {
      entitlement: name,
      requester: who,
      initiator,
      asked: length,
      startAt,
      phase: "PENDING",
      length,
      narrowed: undefined,
      pendingUntil: this.now + PENDING,
      startBy: 0,
      start: 0,
      end: 0,
      finishedAt: 0,
      holds: 1,
      ballots: [],
      extension: undefined,
      turnedDown: undefined,
      opened: this.now,
      escalated: [],
      reviewed: false,
    };
    this.all.push(one);
    if (entitlement.glass) this.#activate(one, this.now);
    else if (AUTOMATIC.includes(who) && name === "refund") this.#approve(one, waiting);
    return this.all.length - 1;
  }

  vote(index: number, who: string, way: "approve" | "deny", narrow?: number): boolean {
    const one = this.#at(index);
    const stage = this.openStage(one);
    const own = who === one.requester || who === one.initiator;
    if (own || stage === undefined || one.ballots.some((ballot) => ballot.who === who)) return false;
    const stages = ENTITLEMENTS[one.entitlement].stages;
    const { people = [], later } = stages[stage] ?? {};
    if (!people.includes(who) && !(one.escalated.includes(stage) && later?.people.includes(who))) return false;
    if (way === "deny") {
      if (one.extension === undefined) this.#finish(one, "DENIED", this.now);
      else one.turnedDown = this.now;
      this.#dropExtension(one);
      return true;
    }
    if (narrow !== undefined && (one.extension !== undefined || narrow > one.length)) return false;
    if (narrow !== undefined && narrow < one.length) one.length = one.narrowed = narrow;
    one.ballots.push({ who, stage });
    if (this.openStage(one) !== stage) one.opened = this.now;
    if (one.ballots.length < stages.reduce((sum, rule) => sum + rule.quorum, 0)) return true;
    if (one.extension === undefined) this.#approve(one, this.waiting.has(index));
    else one.end = one.extension;
    this.#dropExtension(one);
    return true;
  }

  withdraw(index: number, who: string): boolean {
    const one = this.#at(index);
    if (who !== one.requester || (one.phase !== "PENDING" && one.extension === undefined)) return false;
    if (one.phase === "PENDING") this.#finish(one, "WITHDRAWN", this.now);
    else this.#dropExtension(one);
    return true;
  }

  start(index: number, who: string): boolean {
    const one = this.#at(index);
    if (who !== one.requester && who !== "workload:guard") return false;
    if (one.phase === "SCHEDULED" && one.startAt === undefined) this.#activate(one, this.now);
    return one.phase === "ACTIVE";
  }

  end(index: number, who: string, all: boolean): boolean {
    const one = this.#at(index);
    if (who !== one.requester || (one.phase !== "ACTIVE" && one.phase !== "SCHEDULED")) return false;
    one.holds = all ? 0 : one.holds - 1;
    if (one.holds === 0) this.#finish(one, "ENDED", this.now);
    return true;
  }

  revoke(index: number, who: string): boolean {
    const one = this.#at(index);
    const approver = ENTITLEMENTS[one.entitlement].stages.some(
      ({ people, later }, at) => people.includes(who) || (one.escalated.includes(at) && later?.people.includes(who)),
    );
    if (who !== one.requester && who !== "user:admin@test" && !approver) return false;
    if (one.phase === "REVOKED") return true;
    if (!isOpen(one)) return false;
    this.#finish(one, "REVOKED", this.now);
    return true;
  }

  extend(index: number, who: string, by: number): boolean {
    const one = this.#at(index);
    const { extend, cooldown } = ENTITLEMENTS[one.entitlement];
    if (who !== one.requester || one.phase !== "ACTIVE" || extend === undefined || one.end + by > one.start + extend.max) return false;
    const voteless = one.narrowed === undefined || one.end + by <= one.start + one.narrowed;
    if (extend.approval === "none" && !voteless) return false;
    if (one.extension === one.end + by) return true;
    if (one.turnedDown !== undefined && this.now < one.turnedDown + cooldown) return false;
    one.ballots = [];
    one.opened = this.now;
    if (voteless && (extend.approval === "none" || AUTOMATIC.includes(who))) {
      one.end += by;
      one.extension = undefined;
    } else {
      one.extension = one.end + by;
    }
    return true;
  }

  review(index: number, who: string): boolean {
    const one = this.#at(index);
    if (who === one.requester || !ENTITLEMENTS[one.entitlement].reviewers?.includes(who) || one.reviewed) return false;
    one.reviewed = true;
    return true;
  }

  #at(index: number): Modelled {
    const one = this.all[index];
    if (!one) throw new Error(`the model has no elevation ${index}`);
    return this.settled(one);
  }

  #approve(one: Modelled, waiting: boolean): void {
    one.phase = "SCHEDULED";
    one.startBy = this.now + START_WITHIN;
    if (one.startAt === undefined ? waiting : one.startAt <= this.now) this.#activate(one, this.now);
  }

  #activate(one: Modelled, at: number): void {
    one.phase = "ACTIVE";
    one.start = at;
    one.end = at + one.length;
  }

  #finish(one: Modelled, phase: Phase, at: number): void {
    one.phase = phase;
    one.finishedAt = at;
    this.#dropExtension(one);
  }

  #dropExtension(one: Modelled): void {
    if (one.extension !== undefined) one.ballots = [];
    one.extension = undefined;
  }
}

export function isOpen(one: Modelled): boolean {
  return one.phase === "PENDING" || one.phase === "SCHEDULED" || one.phase === "ACTIVE";
}
