// Elevations, changed: each operation of the API as one write of the log, and the timer that writes what time brings about.
// Decides nothing itself (decide.ts) and notifies nobody: whoever wants to know reads the log.

import { isGuard } from "@brevet/policy";
import { type Clock, type NewId, sleep } from "@brevet/protocol";
import {
  type Elevation,
  ElevationService,
  type ElevationServiceApproveRequest,
  type ElevationServiceDenyRequest,
  type ElevationServiceEndRequest,
  type ElevationServiceExtendRequest,
  type ElevationServiceIssueGrantRequest,
  type ElevationServiceRequestRequest,
  type ElevationServiceReviewRequest,
  type ElevationServiceRevokeRequest,
  type ElevationServiceStartRequest,
  type ElevationServiceWithdrawRequest,
} from "@brevet/protocol/brevet/v1/elevation";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type GrantedTerms, type Grants, grantEndMs } from "../issuer/grants.ts";
import type { Log, LogTransaction } from "../log/log.ts";
import { audienceAsked } from "./audience.ts";
import { type Answer, type Caller, notFound, readerOf } from "./caller.ts";
import type { Outcome } from "./decide.ts";
import { execute, executeRequest } from "./execute.ts";
import { type CurrentPolicies, currentPolicy, PolicyBehind, type PolicyOf, type VersionedPolicy } from "./policies.ts";
import { invalid, type Refusal, refuse, refuseState } from "./refusal.ts";
import { type Call, callOf, earlierCall } from "./repeat.ts";
import { keyThumbprint } from "./request.ts";
import { mayRead, type Reader, reveal, revealToGuard } from "./reveal.ts";
import { type Revocation, revokeAll } from "./revocation.ts";
import type { Command } from "./rule.ts";
import { unwritten } from "./unwritten.ts";

/** What {@link Elevations.request} answers. */
export interface Requested {
  readonly elevation: Elevation;
  readonly existing: boolean;
  readonly position: { readonly epoch: string; readonly revision: bigint };
}

/** What {@link Elevations.issueGrant} answers. */
export interface IssuedGrant {
  /** The token. */
  readonly grant: string;
  readonly expireMs: number;
  readonly elevation: Elevation;
}

/** A grant that the log has. */
interface Recorded {
  readonly elevation: Elevation;
  readonly grant: string;
  /** The requester's name. */
  readonly name: string;
  readonly nowMs: number;
  readonly terms: GrantedTerms;
}

/** What {@link Elevations} stands on. */
export interface ElevationsOptions {
  readonly log: Log;
  readonly policies: CurrentPolicies;
  readonly newId: NewId;
  readonly clock: Clock;
  readonly grants: Grants;
  /** Whether a call is parked on an open watch for this elevation: its approval then starts the window. */
  readonly isWaiting: (elevation: string) => boolean;
}

type OnOne = Exclude<Command, { kind: "request" | "grant" | "policy" | "tick" | "revoke" }>;

const POLICY_WAIT_MS = 10;
const POLICY_TRIES = 200;

/** The operations. Answers are sent after their entries are durable. */
export class Elevations {
  readonly #options: ElevationsOptions;

  constructor(options: ElevationsOptions) {
    this.#options = options;
  }

  /** Opens an elevation, or takes a hold on the one that the same question opened. */
  async request(caller: Caller, asked: ElevationServiceRequestRequest): Promise<Answer<Requested>> {
    const call = callOf(ElevationService.method.request, asked);
    if (!call.ok) return call;
    const audience = audienceAsked(asked, caller, this.#options.policies);
    if (!audience.ok) return audience;
    const message = { ...asked, audience: audience.value };
    return this.#write(async (tx, policyOf): Promise<Answer<Requested>> => {
      const policy = await policyOf(message.audience);
      const facts = caller.principalFor(message.audience);
      const asker = await readerOf(tx, facts);
      if (asker && !message.validateOnly) {
        const earlier = await earlierCall(tx, asker.id, call.value);
        if (!earlier.ok) return earlier;
        if (earlier.value) return requestedBefore(tx, earlier.value.elevation, asker, policy);
      }
      const { isWaiting, newId } = this.#options;
      const checked = message.validateOnly ? unwritten(tx, tx.seal) : undefined;
      const around = { policy, facts, call: call.value, isWaiting, ...(checked && { seal: checked.seal }) };
      const outcome = await executeRequest(tx, message, around, newId);
      if (!outcome.ok) return { ok: false, denial: outcome.denial };
      if (outcome.state === undefined || facts === undefined) throw new Error("a request that was not refused has an elevation");
      const reader = { id: outcome.state.requester?.id ?? "", facts };
      const elevation = await reveal(outcome.state, reader, policy?.policy, checked?.texts ?? tx);
      if (message.validateOnly) {
        if (!outcome.existing) elevation.id = "";
        if (elevation.requester) elevation.requester.name = facts.name;
      }
      const { epoch, revision } = await tx.head();
      return { ok: true, value: { elevation, existing: outcome.existing, position: { epoch, revision } } };
    });
  }

  approve(caller: Caller, message: ElevationServiceApproveRequest): Promise<Answer<Elevation>> {
    return this.#change(caller, { kind: "approve", message }, callOf(ElevationService.method.approve, message));
  }

  deny(caller: Caller, message: ElevationServiceDenyRequest): Promise<Answer<Elevation>> {
    return this.#change(caller, { kind: "deny", message }, callOf(ElevationService.method.deny, message));
  }

  withdraw(caller: Caller, message: ElevationServiceWithdrawRequest): Promise<Answer<Elevation>> {
    return this.#change(caller, { kind: "withdraw", message }, callOf(ElevationService.method.withdraw, message));
  }

  start(caller: Caller, message: ElevationServiceStartRequest): Promise<Answer<Elevation>> {
    return this.#change(caller, { kind: "start", message }, callOf(ElevationService.method.start, message));
  }

  extend(caller: Caller, message: ElevationServiceExtendRequest): Promise<Answer<Elevation>> {
    return this.#change(caller, { kind: "extend", message }, callOf(ElevationService.method.extend, message));
  }

  end(caller: Caller, message: ElevationServiceEndRequest): Promise<Answer<Elevation>> {
    return this.#change(caller, { kind: "end", message }, callOf(ElevationService.method.end, message));
  }

  review(caller: Caller, message: ElevationServiceReviewRequest): Promise<Answer<Elevation>> {
    return this.#change(caller, { kind: "review", message }, callOf(ElevationService.method.review, message));
  }

  /** Takes elevations away, before other writes that wait. Waiting for guards is the caller's, behind the answer's position. */
  async revoke(caller: Caller, message: ElevationServiceRevokeRequest): Promise<Answer<Revocation>> {
    const call = callOf(ElevationService.method.revoke, message);
    if (!call.ok) return call;
    const { isWaiting } = this.#options;
    return this.#write((tx, policyOf) => revokeAll(tx, caller, message, { call: call.value, policyOf, isWaiting }), { urgent: true });
  }

  /** Issues a grant: in the log first, signed after. Its requester only. */
  async issueGrant(caller: Caller, message: ElevationServiceIssueGrantRequest): Promise<Answer<IssuedGrant>> {
    const call = callOf(ElevationService.method.issueGrant, message);
    if (!call.ok) return call;
    const key = keyThumbprint(message.keyJwk);
    if (!key.ok) return key;
    const { grants, newId } = this.#options;
    const signer = await grants.signer();
    const recorded = await this.#onElevation(message.id, async (tx, state, policy): Promise<Answer<Recorded>> => {
      const facts = caller.principalFor(state.audience);
      const reader = await readerOf(tx, facts);
      if (!facts || !reader || !mayRead(state, reader, policy?.policy)) return notFound(message.id);
      if (message.audience !== "" && message.audience !== state.audience) return noExchange(message.audience, state);
      if (key.value.length > 0 && state.keyThumbprint.length > 0)
        return invalid("key_jwk", `${state.id} is bound to a key already; leave it out`);
      const terms = await grantedTerms(tx, state, state.keyThumbprint.length > 0 ? state.keyThumbprint : key.value);
      if (!terms.ok) return terms;
      const earlier = await earlierCall(tx, reader.id, call.value);
      if (!earlier.ok) return earlier;
      const grant = newId("gnt");
      const around = { policy, facts, call: earlier.value ? undefined : call.value, isWaiting: this.#options.isWaiting };
      const outcome = await execute(tx, { kind: "grant", grant: { id: grant, kid: signer.kid, key: terms.value.key } }, state, around);
      if (!outcome.ok || outcome.state === undefined) return refused(outcome);
      return { ok: true, value: { elevation: outcome.state, grant, name: facts.name, nowMs: tx.nowMs, terms: terms.value } };
    });
    if (!recorded.ok) return recorded;
    const { elevation, grant, name, nowMs, terms } = recorded.value;
    const token = grants.sign({ elevation, grant, principal: name, issuedMs: nowMs, ...terms }, signer);
    return {
      ok: true,
      value: { grant: token, expireMs: grantEndMs(elevation.windowEnd ? timestampMs(elevation.windowEnd) : 0, nowMs), elevation },
    };
  }

  async #change(caller: Caller, command: OnOne, call: Answer<Call>): Promise<Answer<Elevation>> {
    if (!call.ok) return call;
    return this.#onElevation(command.message.id, async (tx, state, policy): Promise<Answer<Elevation>> => {
      const facts = caller.principalFor(state.audience);
      const reader = await readerOf(tx, facts);
      const guard = command.kind === "start" && facts !== undefined && policy !== undefined && isGuard(policy.policy, facts);
      if (!facts || !reader || (!guard && !mayRead(state, reader, policy?.policy))) return notFound(command.message.id);
      const show = async (shown: Elevation) =>
        guard && !mayRead(shown, reader, policy.policy)
          ? revealToGuard(shown, tx)
          : reveal(shown, (await readerOf(tx, facts)) ?? reader, policy?.policy, tx);
      const earlier = await earlierCall(tx, reader.id, call.value);
      if (!earlier.ok) return earlier;
      if (earlier.value) return { ok: true, value: await show(state) };
      const around = { policy, facts, call: call.value, isWaiting: this.#options.isWaiting };
      const outcome = await execute(tx, command, state, around);
      return outcome.ok && outcome.state ? { ok: true, value: await show(outcome.state) } : refused(outcome);
    });
  }

  #onElevation<T>(
    id: string,
    command: (tx: LogTransaction, state: Elevation, policy: VersionedPolicy | undefined) => Promise<Answer<T>>,
  ): Promise<Answer<T>> {
    return this.#write(async (tx, policyOf) => {
      const state = id.startsWith("elv_") ? await tx.elevation(id) : undefined;
      return state === undefined ? notFound(id) : command(tx, state, await policyOf(state.audience));
    });
  }

  /** Runs a command in a write; waits and runs it again where the compiled policy lags behind the stored one. */
  async #write<T>(
    command: (tx: LogTransaction, policyOf: PolicyOf) => Promise<Answer<T>>,
    options: { readonly urgent?: boolean } = {},
  ): Promise<Answer<T>> {
    const { log, policies, clock } = this.#options;
    for (let tries = 1; ; tries += 1) {
      try {
        return await log.write((tx) => command(tx, (audience) => currentPolicy(tx, policies, audience)), options);
      } catch (error) {
        if (!(error instanceof PolicyBehind) || tries >= POLICY_TRIES) throw error;
        await sleep(clock, POLICY_WAIT_MS);
      }
    }
  }
}

/** What the first call with this id opened or found, as it is now. */
async function requestedBefore(
  tx: LogTransaction,
  id: string,
  reader: Reader,
  policy: VersionedPolicy | undefined,
): Promise<Answer<Requested>> {
  const state = await tx.elevation(id);
  if (state === undefined) return notFound(id);
  const { epoch, revision } = await tx.head();
  return { ok: true, value: { elevation: await reveal(state, reader, policy?.policy, tx), existing: true, position: { epoch, revision } } };
}

/** What a grant says of the terms that were approved. An erased one permits nothing, so there is nothing to grant. */
async function grantedTerms(view: LogTransaction, state: Elevation, key: Uint8Array): Promise<Answer<GrantedTerms>> {
  const { condition, payloadDigest } = state;
  const sealed = [condition, payloadDigest].filter((each) => each !== undefined);
  const openings = await view.openings(sealed.map(({ commitment }) => commitment));
  const of = (commitment: Uint8Array) => openings.get(Buffer.from(commitment).toString("hex"));
  const source = condition && of(condition.commitment);
  const payload = payloadDigest && of(payloadDigest.commitment);
  if (condition && source === undefined)
    return refuseState(state, "POLICY_MISCONFIGURED", `the condition of ${state.id} has been erased; it permits nothing any more`);
  if (payloadDigest && payload === undefined)
    return refuseState(state, "GRANT_PAYLOAD_MISMATCH", `which request ${state.id} was approved for has been erased`);
  return { ok: true, value: { key, condition: source ? Buffer.from(source).toString("utf8") : "", payload: payload ?? new Uint8Array() } };
}

function refused(outcome: Outcome): { readonly ok: false; readonly denial: Refusal } {
  if (outcome.ok) throw new Error("a command that was not refused has an elevation");
  return { ok: false, denial: outcome.denial };
}

/** No exchange along a chain is offered yet, whoever the entitlement names as delegate. */
function noExchange(audience: string, state: Elevation): { readonly ok: false; readonly denial: Refusal } {
  const message = `a grant of ${state.id} is for audience ${state.audience} only; it is not exchanged for ${audience.slice(0, 64)}`;
  return refuse("ROLE_REQUIRED", message, { metadata: { elevation: state.id, audience: state.audience } });
}
