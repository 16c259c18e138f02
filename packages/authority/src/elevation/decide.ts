// The decision on a command: first what time has brought about, then the rule for the command on the elevation as it then is.
// Pure: all that it knows is in its arguments, and all that it does is to answer. elevations.ts is the shell round it.
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import type { Event } from "../log/draft.ts";
import { review, revoke, withdraw } from "./close.ts";
import { narrow } from "./narrow.ts";
import { iso, listed, type Refusal, refuse } from "./refusal.ts";
import { request } from "./request.ts";
import { type Command, type Context, nothing, type Ruling, type Verdict } from "./rule.ts";
import { foresee, settle } from "./settle.ts";
import { approve, deny } from "./vote.ts";
import { end, extend, grant, start } from "./window.ts";

/** What to append and what follows from it. */
export type Outcome = {
  /** What time alone brought about; appended also with a refusal, with no actor. */
  readonly due: readonly Event[];
  /** The elevation after `due` and `events`; undefined where a request was refused. */
  readonly state: Elevation | undefined;
} & (
  | { readonly ok: true; readonly events: readonly Event[]; readonly existing: boolean }
  | { readonly ok: false; readonly denial: Refusal }
);

/** Decides a command on an elevation; `state` is undefined for a request only. */
export function decide(command: Command, state: Elevation | undefined, context: Context): Outcome {
  if (command.kind === "request") {
    const verdict = request(command.message, command.background, context);
    if (!verdict.ok) return { ok: false, denial: complete(verdict.denial, command.message.audience, context), due: [], state: undefined };
    const existing = verdict.found;
    const base = existing ? settle(existing, context) : { state: undefined, due: [] };
    const id = existing?.id ?? command.id;
    return concluded(verdict.events, base, existing !== undefined, { id, audience: command.message.audience }, context);
  }
  if (state === undefined) throw new Error(`${command.kind} needs an elevation`);
  const settled = settle(state, context);
  const verdict = judge(command, settled.state, context);
  if (!verdict.ok) return { ok: false, denial: complete(verdict.denial, state.audience, context), ...settled };
  return concluded(verdict.events, settled, true, state, context);
}

function judge(command: Exclude<Command, { kind: "request" }>, state: Elevation, context: Context): Verdict {
  if (command.kind === "tick") return nothing;
  const { policy, actor } = context;
  if (policy === undefined)
    return refuse("POLICY_UNAVAILABLE", `audience ${state.audience} has no policy`, { metadata: { audience: state.audience } });
  if (command.kind === "policy") return narrow(command.previous, state, { ...context, policy });
  if (actor === undefined) return refuse("IDENTITY_MISSING", "nobody asks");
  const ruling: Ruling = { ...context, policy, actor, entitlement: policy.entitlement(state.entitlement) };
  switch (command.kind) {
    case "approve":
      return approve(command.message, state, ruling);
    case "deny":
      return deny(command.message, state, ruling);
    case "withdraw":
      return withdraw(command.message, state, ruling);
    case "start":
      return start(command.message, state, ruling);
    case "extend":
      return extend(command.message, state, ruling);
    case "end":
      return end(command.message, state, ruling);
    case "revoke":
      return revoke(command.message, state, ruling);
    case "review":
      return review(command.message, state, ruling);
    case "grant":
      return grant(command.grant, state, ruling);
    default:
      return command satisfies never;
  }
}

function concluded(
  events: readonly Event[],
  base: { readonly state: Elevation | undefined; readonly due: readonly Event[] },
  existing: boolean,
  place: { readonly id: string; readonly audience: string },
  context: Context,
): Outcome {
  const { id, audience } = place;
  const revision = context.revision + BigInt(base.due.length);
  const state = foresee(base.state, events, { id, audience, actor: context.actor?.id ?? "", nowMs: context.nowMs, revision });
  return { ok: true, due: base.due, events, existing, state };
}

/** What every refusal tells besides: who asked, where, when, under which policy. */
function complete(denial: Refusal, audience: string, { actor, nowMs, policyVersion }: Context): Refusal {
  const principal = actor ? { principal: actor.facts.name } : {};
  const metadata = { audience, ...principal, policyVersion: `${policyVersion}`, serverTime: iso(nowMs), ...denial.metadata };
  return { ...denial, metadata: listed(denial.reason, metadata) };
}
