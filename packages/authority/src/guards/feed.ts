// What one guard is sent, in order: the policy, the keys and the elevations of its audience, then each change of them. Messages are made
// when they are sent, so that a slow reader holds little. Never reads what the guard says: sync.ts does.

import type { Clock } from "@brevet/protocol";
import { REMEMBER_ENDED_MS } from "@brevet/protocol";
import type { Elevation, LogPosition, Principal } from "@brevet/protocol/brevet/v1/elevation";
import {
  CaughtUpSchema,
  DecisionsTakenSchema,
  type GuardServiceSyncResponse,
  GuardServiceSyncResponseSchema,
  GuardWelcomeSchema,
  IssuerKeysSchema,
  type KeySet,
  KeySetSchema,
  TimeSampleSchema,
} from "@brevet/protocol/brevet/v1/guard";
import { KeyPurpose } from "@brevet/protocol/brevet/v1/log";
import { type PolicyVersion, PolicyVersionSchema } from "@brevet/protocol/brevet/v1/policy";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { revealToGuard } from "../elevation/reveal.ts";
import type { Identities } from "../identity/identity.ts";
import type { Grants } from "../issuer/grants.ts";
import type { Log, Position } from "../log/log.ts";
import type { Change, StoredPolicy } from "../store/store.ts";
import { positionMessage } from "../watch/position.ts";
import type { PolicyBook } from "./policies.ts";

/** What waits to be sent to a guard. */
export type GuardNews =
  | { readonly kind: "change"; readonly change: Change }
  | { readonly kind: "keys" }
  | { readonly kind: "heartbeat"; readonly position: Position }
  | { readonly kind: "time"; readonly sent: bigint; readonly receivedMs: number }
  | { readonly kind: "taken"; readonly sequence: bigint };

/** What feeds stand on. */
export interface GuardFeedOptions {
  readonly log: Log;
  readonly policies: PolicyBook;
  readonly identities: Identities;
  readonly grants: Grants;
  readonly clock: Clock;
  /** `iss` of grants. */
  readonly issuer: string;
  /** Origin of the pages. */
  readonly publicUrl: string;
}

type Message = GuardServiceSyncResponse["message"];

const PAGE = 1000;

/** The messages for one guard. */
export class GuardFeed {
  readonly #options: GuardFeedOptions;
  readonly #audience: string;
  /** Everything up to here was sent. */
  #position: Position;
  readonly #ahead = new Map<string, bigint>();

  constructor(options: GuardFeedOptions, audience: string) {
    this.#options = options;
    this.#audience = audience;
    this.#position = options.log.position();
  }

  /** Whether a change concerns the audience's guards. */
  concerns({ entry, elevation, policy, key }: Change): boolean {
    if (key) return key.purpose === KeyPurpose.GRANT;
    return entry.audience === this.#audience && (elevation !== undefined || (policy !== undefined && !policy.shadow));
  }

  /** Welcome, then the state of `head`, or what changed since `after` where the guard may go on from there, then `caught_up`. Changes have to be collected from `head` on. */
  async *present(guard: Principal, after: LogPosition | undefined, head: Position): AsyncGenerator<GuardServiceSyncResponse> {
    const { log, policies, clock, issuer, publicUrl } = this.#options;
    const store = log.store;
    const resumed = after !== undefined;
    // Only what is complete may be resumed behind: nothing yet, or what the guard said.
    this.#position = resumed ? after : { epoch: head.epoch, revision: 0n };
    yield this.#message({ case: "welcome", value: create(GuardWelcomeSchema, { guard, issuer, publicUrl, resumed }) });
    const policy = await store.policy(this.#audience);
    if (policy && !(resumed && policy.revision <= after.revision)) {
      const message = await policyMessage(policies, policy);
      if (message) yield this.#message({ case: "policy", value: message });
    }
    yield this.#message({ case: "keys", value: await this.#keys() });
    const since = clock.wallMs() - REMEMBER_ENDED_MS;
    const which = {
      audience: this.#audience,
      limit: PAGE,
      ...(resumed ? { changedAfter: after.revision } : { openOrEndedSinceMs: since }),
    };
    for (let before: string | undefined; ; ) {
      const states = await store.elevations({ ...which, ...(before === undefined ? {} : { before }) });
      for (const state of states) {
        if (state.revision > head.revision) this.#ahead.set(state.id, state.revision);
        yield this.#message({ case: "elevation", value: await revealToGuard(state, store) });
      }
      if (states.length < PAGE) break;
      before = states.at(-1)?.id;
    }
    this.#position = head;
    yield this.#message({ case: "caughtUp", value: create(CaughtUpSchema, { checkpoint: (await log.checkpoint()).note }) });
  }

  /** The message for a piece of news; undefined where the guard has it already. */
  async tell(news: GuardNews): Promise<GuardServiceSyncResponse | undefined> {
    switch (news.kind) {
      case "change":
        return this.#change(news.change);
      case "keys":
        return this.#message({ case: "keys", value: await this.#keys() });
      case "heartbeat":
        this.#position = news.position;
        return this.#message({ case: undefined });
      case "time": {
        const value = create(TimeSampleSchema, {
          sent: news.sent,
          received: time(news.receivedMs),
          answered: time(this.#options.clock.wallMs()),
        });
        return this.#message({ case: "timeSample", value });
      }
      case "taken":
        return this.#message({ case: "decisionsTaken", value: create(DecisionsTakenSchema, { sequence: news.sequence }) });
      default:
        return news satisfies never;
    }
  }

  async #change({ head, elevation, policy, key }: Change): Promise<GuardServiceSyncResponse | undefined> {
    const { log, policies } = this.#options;
    this.#position = { epoch: head.epoch, revision: head.revision };
    if (elevation) {
      const { state } = elevation;
      const sent = this.#ahead.get(state.id);
      if (sent !== undefined && sent >= state.revision) return undefined;
      return this.#message({ case: "elevation", value: await shownOnce(state, log) });
    }
    if (policy) {
      const value = await policyMessage(policies, policy);
      return value && this.#message({ case: "policy", value });
    }
    return key && this.#message({ case: "keys", value: await this.#keys() });
  }

  async #keys(): Promise<KeySet> {
    const { grants, identities, policies } = this.#options;
    const policy = policies.current(this.#audience)?.policy;
    const issuers = (policy ? identities.publishedKeys(policy) : []).map(({ issuer, jwks, fetchedMs, development }) =>
      create(IssuerKeysSchema, { issuer, jwks, development, ...(fetchedMs > 0 ? { fetchTime: time(fetchedMs) } : {}) }),
    );
    return create(KeySetSchema, { grantJwks: await grants.jwks(), issuers });
  }

  #message(message: Message): GuardServiceSyncResponse {
    return create(GuardServiceSyncResponseSchema, {
      position: positionMessage(this.#position),
      time: time(this.#options.clock.wallMs()),
      message,
    });
  }
}

// Many guards are sent the same state: it is revealed once.
const shown = new WeakMap<Elevation, Promise<Elevation>>();

function shownOnce(state: Elevation, log: Log): Promise<Elevation> {
  let once = shown.get(state);
  if (once === undefined) shown.set(state, (once = revealToGuard(state, log.store)));
  return once;
}

async function policyMessage(policies: PolicyBook, stored: StoredPolicy): Promise<PolicyVersion | undefined> {
  const texts = await policies.texts(stored);
  if (texts === undefined) return undefined;
  const { audience, version, timeMs, revision, shadow } = stored;
  return create(PolicyVersionSchema, { audience, version, applyTime: time(timeMs), revision, shadow, ...texts });
}

function time(ms: number) {
  return timestampFromMs(ms);
}
