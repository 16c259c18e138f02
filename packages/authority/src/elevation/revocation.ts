// Taking elevations away: one, or all of a principal, an entitlement or a key that are live or drain, in one write. Those that the caller may not
// revoke are left alone. Never waits for guards.

import { hasRole } from "@brevet/policy";
import { REMEMBER_ENDED_MS } from "@brevet/protocol";
import { type Elevation, type ElevationServiceRevokeRequest, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { fromBinary } from "@bufbuild/protobuf";
import type { LogTransaction } from "../log/log.ts";
import type { ElevationQuery } from "../store/store.ts";
import { type Answer, type Caller, notFound, readerOf } from "./caller.ts";
import { isDraining } from "./close.ts";
import { execute } from "./execute.ts";
import type { PolicyOf } from "./policies.ts";
import { invalid, refuse } from "./refusal.ts";
import { type Call, earlierCall, type FirstEntry } from "./repeat.ts";
import { mayRead, reveal } from "./reveal.ts";

/** What was revoked, and the log's position behind it: guards enforce it once they acknowledged that. */
export interface Revocation {
  readonly elevations: readonly Elevation[];
  readonly position: { readonly epoch: string; readonly revision: bigint };
}

/** What revoking needs beside the write. */
export interface RevocationTools {
  readonly call: Call;
  readonly policyOf: PolicyOf;
  readonly isWaiting: (elevation: string) => boolean;
}

const MOST = 10_000;

/** Revokes what matches. The first entry carries the idempotency id. */
export async function revokeAll(
  tx: LogTransaction,
  caller: Caller,
  message: ElevationServiceRevokeRequest,
  { call, policyOf, isWaiting }: RevocationTools,
): Promise<Answer<Revocation>> {
  const earlier = await earlierOf(tx, caller, call);
  if (!earlier.ok) return earlier;
  if (earlier.value) return repeat(tx, caller, earlier.value, policyOf);
  const targets = await targetsOf(tx, message);
  if (!targets.ok) return targets;
  const one = message.target.case === "id";
  const revoked: Elevation[] = [];
  let first: Call | undefined = call;
  for (const state of targets.value) {
    const policy = await policyOf(state.audience);
    const facts = caller.principalFor(state.audience);
    const reader = await readerOf(tx, facts);
    if (!facts || !reader || !mayRead(state, reader, policy?.policy)) {
      if (one) return notFound(state.id);
      continue;
    }
    const outcome = await execute(tx, { kind: "revoke", message }, state, { policy, facts, call: first, isWaiting });
    if (!outcome.ok && one) return { ok: false, denial: outcome.denial };
    if (!outcome.ok || outcome.state === undefined) continue;
    if (outcome.events.length > 0) first = undefined;
    revoked.push(await reveal(outcome.state, (await readerOf(tx, facts)) ?? reader, policy?.policy, tx));
  }
  // Whether anything matches is not told to whoever could not revoke it.
  if (revoked.length === 0 && !(await isAdmin(tx, caller, message.audience, policyOf))) {
    return refuse(
      "ROLE_REQUIRED",
      "you may revoke none of what matches: that takes the role admin, being an approver, or being the requester",
      {
        metadata: { role: "admin" },
      },
    );
  }
  const { epoch, revision } = await tx.head();
  return { ok: true, value: { elevations: revoked, position: { epoch, revision } } };
}

/** The same call by whoever the caller is in any audience: what it is about may be over by now, so it is not looked for there. */
async function earlierOf(tx: LogTransaction, caller: Caller, call: Call): Promise<Answer<FirstEntry | undefined>> {
  const names = new Set((await tx.policies()).flatMap(({ audience }) => caller.principalFor(audience)?.name ?? []));
  for (const name of names) {
    const earlier = await earlierCall(tx, (await tx.principalByName(name))?.id ?? "", call);
    if (!earlier.ok || earlier.value) return earlier;
  }
  return { ok: true, value: undefined };
}

async function isAdmin(tx: LogTransaction, caller: Caller, audience: string, policyOf: PolicyOf): Promise<boolean> {
  const audiences = audience === "" ? (await tx.policies()).map((stored) => stored.audience) : [audience];
  for (const one of audiences) {
    const facts = caller.principalFor(one);
    const policy = facts && (await policyOf(one))?.policy;
    if (facts && policy && hasRole(policy, "admin", facts)) return true;
  }
  return false;
}

async function targetsOf(tx: LogTransaction, { target, audience }: ElevationServiceRevokeRequest): Promise<Answer<Elevation[]>> {
  const of: ElevationQuery = audience === "" ? {} : { audience };
  switch (target.case) {
    case "id": {
      const state = target.value.startsWith("elv_") ? await tx.elevation(target.value) : undefined;
      return state ? { ok: true, value: [state] } : notFound(target.value);
    }
    case "principal": {
      const principal = await tx.principalByName(target.value);
      return { ok: true, value: principal ? await revocable(tx, { ...of, requester: principal.id }) : [] };
    }
    case "entitlement":
      if (audience === "") return invalid("audience", "say whose entitlement it is");
      return { ok: true, value: await revocable(tx, { ...of, entitlement: target.value }) };
    case "keyThumbprint":
      if (target.value.length !== 32) return invalid("key_thumbprint", "must be an RFC 7638 thumbprint, 32 bytes");
      return { ok: true, value: await revocable(tx, { ...of, keyThumbprint: target.value }) };
    default:
      return invalid("target", "say what to revoke: id, principal, entitlement or key_thumbprint");
  }
}

/** Live ones, and those whose streams still drain. */
async function revocable(tx: LogTransaction, of: ElevationQuery): Promise<Elevation[]> {
  const { PENDING, SCHEDULED, ACTIVE, EXPIRED } = ElevationState;
  const live = await tx.elevations({ ...of, states: [PENDING, SCHEDULED, ACTIVE], limit: MOST });
  // No drain is longer than ended elevations are remembered.
  const openOrEndedSinceMs = tx.nowMs - REMEMBER_ENDED_MS;
  const expired = await tx.elevations({ ...of, states: [EXPIRED], openOrEndedSinceMs, limit: MOST });
  return [...live, ...expired.filter((state) => isDraining(state, tx.nowMs))];
}

/** What the first call with this id revoked, as it is now: its entries stand one behind the other. */
async function repeat(tx: LogTransaction, caller: Caller, first: FirstEntry, policyOf: PolicyOf): Promise<Answer<Revocation>> {
  const elevations: Elevation[] = [];
  const records = await tx.entries(first.revision - 1n, { limit: MOST });
  for (const [index, record] of records.entries()) {
    const entry = fromBinary(LogEntrySchema, record.entry);
    // What time brought about, and whom the log saw for the first time.
    if (entry.actor === "") continue;
    if ((index > 0 && entry.requestId !== "") || entry.event.case !== "elevationRevoked") break;
    const state = await tx.elevation(entry.elevation);
    const facts = state && caller.principalFor(state.audience);
    const reader = await readerOf(tx, facts);
    const policy = state && (await policyOf(state.audience))?.policy;
    if (!state || !reader || !mayRead(state, reader, policy)) continue;
    elevations.push(await reveal(state, reader, policy, tx));
  }
  const { epoch, revision } = await tx.head();
  return { ok: true, value: { elevations, position: { epoch, revision } } };
}
