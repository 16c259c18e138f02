// A refusal as it is sent: message, metadata, offers and links.
// Never decides. Tells a caller without an identity nothing of the policy, and nobody anything of others.
import { type CompiledPolicy, describeOffer, type Entitlement, type PrincipalFacts } from "@brevet/policy";
import { type Denial, type HelpLink, MAX_MESSAGE_BYTES, sanitise } from "@brevet/protocol";
import { type ElevationRequired, ElevationRequiredSchema } from "@brevet/protocol/brevet/v1/error";
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type GuardRefusal, isoTime } from "./call.ts";
import { type Words, wordsOf } from "./words.ts";

const MAX_OFFERS = 5;
const MAX_HEADER_NAMES = 16;

/** What a refusal says beside the refusal itself. */
export interface RefusedCall {
  /** `dec_…`. */
  readonly decisionId: string;
  readonly method: string;
  readonly audience: string;
  /** Names, not values, of the metadata that came. */
  readonly headersSeen: readonly string[];
  /** Undefined before there is one. */
  readonly policy: { readonly compiled: CompiledPolicy; readonly version: bigint } | undefined;
  /** Origin of the authority's pages; empty: none. */
  readonly publicUrl: string;
  /** The authority's time, milliseconds since 1970; undefined before it is known. */
  readonly nowMs: number | undefined;
}

/** The refusal as it is sent to the caller. */
export function denialOf(refusal: GuardRefusal, call: RefusedCall): Denial {
  const { reason, principal, offers, retryDelayMs } = refusal;
  const facts = factsOf(refusal);
  const words = wordsOf(refusal, facts, call);
  const links = linksOf(refusal, facts, words, call.publicUrl);
  const offer = principal && call.policy && offerOf(call.policy.compiled, offers, principal, call);
  return {
    reason,
    message: messageOf(words, reason, call.decisionId, links[0]),
    metadata: {
      decisionId: call.decisionId,
      method: call.method,
      ...(call.nowMs === undefined ? {} : { serverTime: isoTime(call.nowMs) }),
      ...(reason.startsWith("IDENTITY_") ? { headersSeen: call.headersSeen.slice(0, MAX_HEADER_NAMES).join(",") } : {}),
      ...(principal === undefined ? {} : { principal: principal.name, audience: call.audience }),
      ...(principal === undefined || call.policy === undefined ? {} : { policyVersion: String(call.policy.version) }),
      ...facts,
    },
    help: links,
    ...(retryDelayMs === undefined ? {} : { retryDelayMs }),
    ...(offer === undefined ? {} : { offer }),
  };
}

/** The facts, and what the elevation itself tells. */
function factsOf({ reason, facts, elevation }: GuardRefusal): Record<string, string> {
  const named: Record<string, string> = { ...facts };
  if (elevation === undefined) return named;
  named.elevation ??= elevation.id;
  named.entitlement ??= elevation.entitlement;
  if (reason === "ELEVATION_PENDING" && elevation.pendingUntil) named.pendingUntil = isoTime(timestampMs(elevation.pendingUntil));
  if (reason === "ELEVATION_SCHEDULED" && elevation.startBy) named.startBy = isoTime(timestampMs(elevation.startBy));
  return named;
}

function offerOf(
  policy: CompiledPolicy,
  offers: readonly Entitlement[],
  principal: PrincipalFacts,
  call: RefusedCall,
): ElevationRequired | undefined {
  if (offers.length === 0) return undefined;
  return create(ElevationRequiredSchema, {
    entitlements: offers.slice(0, MAX_OFFERS).map((entitlement) => describeOffer(policy, entitlement, principal)),
    more: Math.max(0, offers.length - MAX_OFFERS),
    method: call.method,
    audience: call.audience,
    evaluationId: call.decisionId,
  });
}

/** Where to act: the page that fits the words first. */
function linksOf({ offers, principal }: GuardRefusal, facts: Record<string, string>, words: Words, publicUrl: string): readonly HelpLink[] {
  if (publicUrl === "" || principal === undefined) return [];
  const origin = publicUrl.replace(/\/+$/, "");
  const links: HelpLink[] = [];
  const [first] = offers;
  if (first !== undefined) links.push({ description: `Ask for ${first.id}`, url: `${origin}/r/${encodeURIComponent(first.id)}` });
  if (facts.elevation !== undefined)
    links.push({ description: "What became of the elevation", url: `${origin}/e/${encodeURIComponent(facts.elevation)}` });
  return words.page === "elevation" ? links.toReversed() : links;
}

/** At most 400 bytes, and the decision id is always there: the link goes first, then the command, then the end of the sentence. */
function messageOf({ says, run, page }: Words, reason: string, decisionId: string, link: HelpLink | undefined): string {
  const recorded = ` (decision ${decisionId})`;
  const command = run === undefined ? "" : ` Run: ${run}`;
  const open = run === undefined || page === undefined || link === undefined ? "" : `  or open ${link.url}`;
  for (const tail of [command + open + recorded, command + recorded]) {
    const message = `${reason}: ${says}${tail}`;
    if (Buffer.byteLength(message) <= MAX_MESSAGE_BYTES) return message;
  }
  return sanitise(`${reason}: ${says}`, MAX_MESSAGE_BYTES - recorded.length) + recorded;
}
