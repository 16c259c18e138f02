// Taking elevations away: one, or all live ones of a principal, an entitlement or a key, in one write. Those that the caller may not
// revoke are left alone. Never waits for guards.

import { hasRole } from "@brevet/policy";
import { type Elevation, type ElevationServiceRevokeRequest, ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { fromBinary } from "@bufbuild/protobuf";
import type { LogTransaction } from "../log/log.ts";
import type { ElevationQuery } from "../store/store.ts";
import { type Answer, type Caller, notFound, readerOf } from "./caller.ts";
import { execute } from "./execute.ts";
import type { PolicyOf } from "./policies.ts";
import { invalid, refuse } from "./refusal.ts";
import { mayRead, reveal } from "./reveal.ts";

/** What was revoked, and the log's position behind it: guards enforce it once they acknowledged that. */
export interface Revocation {
  readonly elevations: readonly Elevation[];
  readonly position: { readonly epoch: string; readonly revision: bigint };
}

/** What revoking needs beside the write. */
export interface RevocationTools {
  readonly policyOf: PolicyOf;
  readonly isWaiting: (elevation: string) => boolean;
}

const MOST = 10_000;

/** Revokes what matches. The first entry carries the idempotency id. */
export async function revokeAll(
  tx: LogTransaction,
  caller: Caller,
  message: ElevationServiceRevokeRequest,
  { policyOf, isWaiting }: RevocationTools,
): Promise<Answer<Revocation>> {
  const targets = await targetsOf(tx, message);
  if (!targets.ok) return targets;
  const one = message.target.case === "id";
  const revoked: Elevation[] = [];
  let requestId = message.requestId;
  for (const state of targets.value) {
    const policy = await policyOf(state.audience);
    const facts = caller.principalFor(state.audience);
    const reader = await readerOf(tx, facts);
    if (!facts || !reader || !mayRead(state, reader, policy?.policy)) {
      if (one) return notFound(state.id);
      continue;
    }
    const repeated = reader.id === "" ? undefined : await tx.request(reader.id, message.requestId);
    if (repeated && requestId !== "") return repeat(tx, caller, message, repeated, policyOf);
    const outcome = await execute(tx, { kind: "revoke", message }, state, { policy, facts, requestId, isWaiting });
    if (!outcome.ok && one) return { ok: false, denial: outcome.denial };
    if (!outcome.ok || outcome.state === undefined) continue;
    if (outcome.events.length > 0) requestId = "";
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
  const { PENDING, SCHEDULED, ACTIVE } = ElevationState;
  const live: ElevationQuery = { states: [PENDING, SCHEDULED, ACTIVE], limit: MOST, ...(audience === "" ? {} : { audience }) };
  switch (target.case) {
    case "id": {
      const state = target.value.startsWith("elv_") ? await tx.elevation(target.value) : undefined;
      return state ? { ok: true, value: [state] } : notFound(target.value);
    }
    case "principal": {
      const principal = await tx.principalByName(target.value);
      return { ok: true, value: principal ? await tx.elevations({ ...live, requester: principal.id }) : [] };
    }
    case "entitlement":
      if (audience === "") return invalid("audience", "say whose entitlement it is");
      return { ok: true, value: await tx.elevations({ ...live, entitlement: target.value }) };
    case "keyThumbprint":
      if (target.value.length !== 32) return invalid("key_thumbprint", "must be an RFC 7638 thumbprint, 32 bytes");
      return { ok: true, value: await tx.elevations({ ...live, keyThumbprint: target.value }) };
    default:
      return invalid("target", "say what to revoke: id, principal, entitlement or key_thumbprint");
  }
}

/** What the first call with this id revoked, as it is now: its entries stand one behind the other. */
async function repeat(
  tx: LogTransaction,
  caller: Caller,
  message: ElevationServiceRevokeRequest,
  first: { readonly elevation: string; readonly revision: bigint },
  policyOf: PolicyOf,
): Promise<Answer<Revocation>> {
  const elevations: Elevation[] = [];
  const records = await tx.entries(first.revision - 1n, { limit: MOST });
  for (const [index, record] of records.entries()) {
    const entry = fromBinary(LogEntrySchema, record.entry);
    const another = index > 0 && entry.requestId !== "";
    if (another || (entry.actor !== "" && entry.event.case !== "elevationRevoked")) break;
    if (entry.event.case !== "elevationRevoked") continue;
    const state = await tx.elevation(entry.elevation);
    const facts = state && caller.principalFor(state.audience);
    const reader = await readerOf(tx, facts);
    if (!state || !reader) continue;
    elevations.push(await reveal(state, reader, (await policyOf(state.audience))?.policy, tx));
  }
  const sameTarget = message.target.case !== "id" || message.target.value === first.elevation;
  if (elevations.length === 0 || !sameTarget) return invalid("request_id", `${message.requestId} was used before, for something else`);
  const { epoch, revision } = await tx.head();
  return { ok: true, value: { elevations, position: { epoch, revision } } };
}
