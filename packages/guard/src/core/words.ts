// The words of a refusal: one line that does without the details, since many clients print nothing else.
// Says what failed, why, what to run. Never names what the caller may not know: it is given only that.
import { approvalsOf, durationText, type Entitlement } from "@brevet/policy";
import { catalogue } from "@brevet/protocol";
import { type GuardRefusal, isoTime } from "./call.ts";

/** What to say, and what helps. Short: 400 bytes have to hold method, command, link and decision id. */
export interface Words {
  /** What and why, ending in a full stop. */
  readonly says: string;
  /** The command that helps. */
  readonly run?: string;
  /** Which page helps as well: the elevation's, or the one to ask for the first offer. */
  readonly page?: "elevation" | "entitlement";
}

/** The call that is refused. */
interface CalledMethod {
  readonly method: string;
  readonly audience: string;
  /** The authority's time, milliseconds since 1970; undefined before it is known. */
  readonly nowMs: number | undefined;
}

/** The words for one refusal of a call of `method`. `facts` as in the refusal's metadata. */
export function wordsOf(refusal: GuardRefusal, facts: Readonly<Record<string, string>>, call: CalledMethod): Words {
  const { reason, offers, principal } = refusal;
  const { method, audience } = call;
  const elevation = facts.elevation ?? "";
  const request = requestCommand(offers, method);
  const ask: Partial<Words> = request === undefined ? {} : { run: request, page: "entitlement" };
  const look = (verb: string): Partial<Words> => (elevation === "" ? {} : { run: `brevet ${verb} ${elevation}`, page: "elevation" });
  switch (reason) {
    case "ELEVATION_REQUIRED":
      if (facts.present === undefined) return { says: `${method} needs an approved elevation${offered(offers)}.`, ...ask };
      return { says: `${method} wants the grant of elevation ${elevation} in brevet-grant, and none came.`, ...look("grant") };
    case "ELEVATION_PENDING":
      return {
        says: `elevation ${elevation} for ${method} is not decided yet${facts.pendingUntil === undefined ? "" : `, and lapses at ${facts.pendingUntil}`}.`,
        ...look("watch"),
      };
    case "ELEVATION_SCHEDULED":
      if (facts.startTime !== undefined)
        return {
          says: `elevation ${elevation} for ${method} is approved and starts at ${facts.startTime}: call again then.`,
          ...look("show"),
        };
      return { says: `elevation ${elevation} for ${method} is approved but not started.`, ...look("start") };
    case "ELEVATION_DENIED":
      return { says: `an approver refused elevation ${elevation} for ${method}; their words say why.`, ...look("show") };
    case "ELEVATION_WITHDRAWN":
      return { says: `elevation ${elevation} for ${method} was withdrawn before a decision.`, ...ask };
    case "ELEVATION_LAPSED":
      return { says: `elevation ${elevation} for ${method} lapsed: nobody decided or used it in time. It was not refused.`, ...ask };
    case "ELEVATION_EXPIRED":
      return { says: `the window of elevation ${elevation} for ${method} ended${at(facts.expiredAt)}${now(call)}.`, ...ask };
    case "ELEVATION_ENDED":
      return { says: `elevation ${elevation} for ${method} was handed back${at(facts.endedAt)}.`, ...ask };
    case "ELEVATION_REVOKED":
      return {
        says: `elevation ${elevation} for ${method} was revoked${at(facts.endedAt)}: learn by whom and why before you ask again.`,
        ...look("show"),
      };
    case "CONDITION_NOT_MET":
      return {
        says: `change this request to ${method}: it does not meet ${facts.expression ?? "the condition of what was approved"}.`,
        ...look("show"),
      };
    case "POLICY_MISCONFIGURED":
      return {
        says: `an admin of ${audience} has to correct the rule for ${method}, which cannot be enforced: ${facts.problem ?? "unknown"}.`,
        ...explain(reason),
      };
    case "NOT_ELIGIBLE":
      return {
        says: `no entitlement lets ${principal?.name ?? "the caller"} ask for ${method}: an admin of ${audience} can add you.`,
        ...explain(reason),
      };
    case "METHOD_FORBIDDEN":
      return {
        says: `the policy of ${audience} forbids ${method}, or does not list it: check the name, or ask an admin.`,
        ...explain(reason),
      };
    case "GRANT_EXPIRED":
      return { says: `the grant ended${at(facts.expiredAt)}${now(call)}. Its elevation may go on: get a fresh grant.`, ...look("grant") };
    case "GRANT_SCOPE_MISMATCH":
      return { says: `the grant does not cover ${method}.`, ...ask };
    case "GRANT_PAYLOAD_MISMATCH":
      return { says: `the approval covers one exact request to ${method}: this is another, or it was used.`, ...ask };
    case "IDENTITY_MISSING":
      return { says: `${method} needs \`authorization: Bearer <token>\`, and none came${why(facts.problem)}.`, ...explain(reason) };
    case "IDENTITY_EXPIRED":
      return { says: `the identity token ended${at(facts.expiredAt)}${now(call)}. Sign in again, or renew it.` };
    case "IDENTITY_NOT_YET_VALID":
      return {
        says: `the identity token is valid from ${facts.validFrom ?? "later"}${now(call)}. Correct the issuer's clock, or wait.`,
        ...explain(reason),
      };
    case "IDENTITY_AUDIENCE_MISMATCH":
      return {
        says: `the identity token is not for ${facts.expectedAudience ?? "this service"}: sign in for that audience.`,
        run: "brevet token inspect -",
      };
    case "REQUEST_QUOTA_EXCEEDED":
      return { says: "too many tokens from this peer failed their checks; new ones have to wait a moment." };
    default:
      return { says: `${catalogue[reason].what}${why(facts.problem)}`, ...explain(reason) };
  }
}

function explain(reason: string): Partial<Words> {
  return { run: `brevet explain ${reason}` };
}

function offered([first, ...more]: readonly Entitlement[]): string {
  if (first === undefined) return "";
  const approvals = first.breakGlass === undefined ? approvalsOf(first) : 0;
  return ` (${first.id}, ${approvals} approval${approvals === 1 ? "" : "s"}${more.length === 0 ? "" : `; ${more.length} more`})`;
}

/** The command that asks for the first offer, as it has to be typed. */
function requestCommand([first]: readonly Entitlement[], method: string): string | undefined {
  if (first === undefined) return undefined;
  const reason = first.reason.required ? ' --reason "…"' : "";
  const payload = first.bindPayload ? " --payload FILE" : "";
  const how = first.breakGlass === undefined ? "" : " --break-glass";
  return `brevet request ${method} --for ${durationText(first.defaultMs)}${reason}${payload}${how}`;
}

function at(time: string | undefined): string {
  return time === undefined ? "" : ` at ${time}`;
}

/** What a caller whose own clock is off compares with. */
function now({ nowMs }: CalledMethod): string {
  return nowMs === undefined ? "" : `; the authority's clock says ${isoTime(nowMs)}`;
}

function why(problem: string | undefined): string {
  return problem === undefined ? "" : ` (${problem})`;
}
