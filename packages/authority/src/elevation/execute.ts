// One command inside one write: reads what the rules need, lets them decide, appends what they say. What time brought about is
// appended also where the command is refused. Never publishes: the log does, after the commit.

import type { PrincipalFacts } from "@brevet/policy";
import type { NewId } from "@brevet/protocol";
import { type Elevation, type ElevationServiceRequestRequest, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { type LogEntry, LogEntrySchema, type Sealed } from "@brevet/protocol/brevet/v1/log";
import { fromBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Seal } from "../log/draft.ts";
import type { LogTransaction } from "../log/log.ts";
import type { View } from "../store/store.ts";
import { entitlementAsked } from "./choose.ts";
import { decide, type Outcome } from "./decide.ts";
import type { VersionedPolicy } from "./policies.ts";
import type { Call } from "./repeat.ts";
import { mayBeSameQuestion } from "./request.ts";
import { principalsOf } from "./reveal.ts";
import type { Background, Command, Context, Question } from "./rule.ts";
import { sameBytes } from "./terms.ts";

/** As many as a store answers with. */
const ALL = 10_000;

/** What the shell knows beside the transaction. */
export interface Surroundings {
  readonly policy: VersionedPolicy | undefined;
  /** Undefined for time and policy changes. */
  readonly facts: PrincipalFacts | undefined;
  /** The call whose first entry this writes; undefined where it wrote one already, or nobody called. */
  readonly call: Call | undefined;
  readonly isWaiting: (elevation: string) => boolean;
  /** Instead of the transaction's, where nothing is to be written. */
  readonly seal?: Seal;
}

/** A command on an elevation that exists; the outcome's state is the one in the log. */
export async function execute(
  tx: LogTransaction,
  command: Exclude<Command, { kind: "request" }>,
  state: Elevation,
  around: Surroundings,
): Promise<Outcome> {
  const names = await namesOf(tx, [state]);
  const judge = async (actorId: string): Promise<Outcome> => {
    const context = await contextFor(tx, around, actorId, names);
    const termsRevision =
      command.kind === "approve" || command.kind === "deny" ? await termsChange(tx, state, command.message.seenRevision) : 0n;
    const extendMaxMs = command.kind === "extend" ? await extendMax(tx, state) : 0;
    const bound = command.kind === "approve" || command.kind === "start" ? await boundPayload(tx, state) : undefined;
    const more = { callerWaiting: around.isWaiting(state.id), termsRevision, extendMaxMs, payloadDigest: bound };
    return decide(command, state, { ...context, ...more });
  };
  const { outcome, actorId } = await judgeAs(tx, around.facts, judge);
  append(tx, outcome, state, actorId, around.call);
  return outcome;
}

/** Asking for an elevation. With `validate_only` nothing is appended. */
export async function executeRequest(
  tx: LogTransaction,
  message: ElevationServiceRequestRequest,
  around: Surroundings,
  newId: NewId,
): Promise<Outcome> {
  const { facts, policy } = around;
  const entitlement = facts && policy && entitlementAsked(message, policy.policy, facts);
  const id = newId("elv");
  const judge = async (actorId: string): Promise<Outcome> => {
    const initiator = facts?.initiator === undefined ? "" : await knownId(tx, facts.initiator);
    const breakGlass = entitlement !== undefined && policy?.policy.entitlement(entitlement)?.breakGlass !== undefined;
    const background = await backgroundOf(tx, message, { requester: actorId, initiator, entitlement, breakGlass });
    const names = await namesOf(tx, background.denied);
    const context = await contextFor(tx, around, actorId, names);
    return decide({ kind: "request", id, message, background }, undefined, {
      ...context,
      callerWaiting: message.waiting,
      termsRevision: 0n,
      extendMaxMs: 0,
      payloadDigest: undefined,
    });
  };
  if (message.validateOnly) return judge(facts ? await knownId(tx, facts.name) : "");
  const { outcome, actorId } = await judgeAs(tx, facts, judge);
  if (outcome.state) append(tx, outcome, outcome.state, actorId, around.call);
  return outcome;
}

/** Decides; somebody whom the log never saw, or for whom it never saw anybody act, is entered only once something is to be written. */
async function judgeAs(
  tx: LogTransaction,
  facts: PrincipalFacts | undefined,
  judge: (actorId: string) => Promise<Outcome>,
): Promise<{ outcome: Outcome; actorId: string }> {
  if (facts === undefined) return { outcome: await judge(""), actorId: "" };
  const known = await knownId(tx, facts.name);
  const outcome = await judge(known);
  const newcomers = known === "" || (facts.initiator !== undefined && (await knownId(tx, facts.initiator)) === "");
  if (!newcomers || !outcome.ok || outcome.events.length === 0) return { outcome, actorId: known };
  const actorId = await tx.principalId(facts);
  if (facts.initiator !== undefined) await tx.principalId({ name: facts.initiator });
  return { outcome: await judge(actorId), actorId };
}

function append(
  tx: LogTransaction,
  outcome: Outcome,
  place: { readonly id: string; readonly audience: string },
  actor: string,
  call: Call | undefined,
): void {
  const about = { audience: place.audience, elevation: place.id };
  for (const event of outcome.due) tx.append({ ...about, actor: "", requestId: "", event });
  if (!outcome.ok) return;
  for (const [index, event] of outcome.events.entries()) {
    const made = index === 0 && call ? { requestId: call.requestId, requestTerms: tx.seal(call.terms) } : { requestId: "" };
    tx.append({ ...about, actor, ...made, event });
  }
}

async function contextFor(
  tx: LogTransaction,
  { policy, facts, seal = tx.seal }: Surroundings,
  actorId: string,
  names: ReadonlyMap<string, string>,
): Promise<Omit<Context, "callerWaiting" | "termsRevision" | "extendMaxMs" | "payloadDigest">> {
  const { revision } = await tx.head();
  return {
    nowMs: tx.nowMs,
    revision,
    seal,
    policy: policy?.policy,
    policyVersion: policy?.version ?? 0n,
    actor: facts && { id: actorId, facts },
    nameOf: (id) => names.get(id),
  };
}

async function namesOf(view: View, states: readonly Elevation[]): Promise<Map<string, string>> {
  const ids = [...new Set(states.flatMap((state) => principalsOf(state)))];
  const principals = await view.principals(ids);
  return new Map([...principals.values()].flatMap(({ id, name }) => (name === undefined ? [] : [[id, name] as const])));
}

async function backgroundOf(
  view: View,
  message: ElevationServiceRequestRequest,
  asked: {
    readonly requester: string;
    readonly initiator: string;
    readonly entitlement: string | undefined;
    readonly breakGlass: boolean;
  },
): Promise<Background> {
  const { audience } = message;
  const { requester, initiator, entitlement, breakGlass } = asked;
  if (requester === "" || entitlement === undefined) return { initiator, open: [], live: [], denied: [], unreviewed: [] };
  const { PENDING, SCHEDULED, ACTIVE, DENIED, EXPIRED, ENDED, REVOKED } = ElevationState;
  const same = { requester, audience, entitlement };
  const open: Question[] = [];
  const live = await view.elevations({ requester, audience, states: [PENDING, SCHEDULED, ACTIVE], limit: ALL });
  const likely = live.filter((state) => state.entitlement === entitlement && mayBeSameQuestion(message, initiator, state));
  for (const state of await inSameWords(view, message, likely)) {
    const question = await questionOf(view, state);
    if (question) open.push(question);
  }
  const denied = await view.elevations({ ...same, states: [DENIED], limit: 10 });
  const used = breakGlass ? await view.elevations({ ...same, states: [ACTIVE, EXPIRED, ENDED, REVOKED] }) : [];
  return { initiator, open, live, denied, unreviewed: used.filter((state) => state.breakGlass && !state.reviewTime) };
}

/** Those whose reason, run and digest are the ones asked with: told from what is sealed, before their entries are read. */
async function inSameWords(view: View, message: ElevationServiceRequestRequest, states: readonly Elevation[]): Promise<Elevation[]> {
  const wordsOf = ({ reason, run, payloadDigest }: Elevation) => [reason, run, payloadDigest];
  const asked = [Buffer.from(message.reason), Buffer.from(message.run), message.payloadDigest];
  const sealed = states.flatMap(wordsOf).filter((each) => each !== undefined);
  const openings = await view.openings(sealed.map(({ commitment }) => commitment));
  return states.filter((state) =>
    wordsOf(state).every((each, place) => {
      const value = each ? openings.get(Buffer.from(each.commitment).toString("hex")) : new Uint8Array();
      return value !== undefined && sameBytes(value, asked[place] ?? new Uint8Array());
    }),
  );
}

/** What an elevation was asked with: its first entry, and what is sealed in it while it is kept. */
async function questionOf(view: View, state: Elevation): Promise<Question | undefined> {
  const [record] = await view.entries(0n, { elevation: state.id, limit: 1 });
  if (record === undefined) return undefined;
  const { event } = fromBinary(LogEntrySchema, record.entry);
  if (event.case !== "elevationRequested") return undefined;
  const asked = event.value;
  const sealed = [asked.reason, asked.run, asked.payloadDigest].filter((each) => each !== undefined);
  const openings = await view.openings(sealed.map(({ commitment }) => commitment));
  const bytes = (each: Sealed | undefined) => (each ? openings.get(Buffer.from(each.commitment).toString("hex")) : new Uint8Array());
  const text = (each: Sealed | undefined) => {
    const value = bytes(each);
    return value && Buffer.from(value).toString("utf8");
  };
  return { state, asked, reason: text(asked.reason), run: text(asked.run), payloadDigest: bytes(asked.payloadDigest) };
}

/** SHA-256 of the one request that an elevation covers; undefined once erased, or where it covers no exact request. */
async function boundPayload(view: Pick<View, "openings">, { payloadDigest }: Elevation): Promise<Uint8Array | undefined> {
  if (payloadDigest === undefined) return undefined;
  return (await view.openings([payloadDigest.commitment])).get(Buffer.from(payloadDigest.commitment).toString("hex"));
}

/** Whether an entry changes what people vote on, so that a vote for what stood before must not count. */
export function changesTerms({ event }: LogEntry): boolean {
  if (event.case === "voteCast") return event.value.narrowedDuration !== undefined;
  return event.case === "elevationRequested" || event.case === "elevationNarrowed" || event.case === "extensionRequested";
}

/** Revision of the last change of terms behind what the voter saw, or what the voter saw if there is none. */
async function termsChange(view: View, state: Elevation, seen: bigint): Promise<bigint> {
  if (seen === 0n || seen >= state.revision) return state.revision;
  const later = await view.entries(seen, { elevation: state.id, limit: 10_000 });
  const changes = later.map((record) => fromBinary(LogEntrySchema, record.entry)).filter((entry) => changesTerms(entry));
  return changes.at(-1)?.revision ?? seen;
}

async function extendMax(view: View, state: Elevation): Promise<number> {
  const asked = (await questionOf(view, state))?.asked.extendMax;
  return asked ? durationMs(asked) : 0;
}

async function knownId(view: View, name: string): Promise<string> {
  return (await view.principalByName(name))?.id ?? "";
}
