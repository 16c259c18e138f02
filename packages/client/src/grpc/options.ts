// What a program tells elevate(), and what becomes of it: checked once, when the client is made, not when a call fails.
import { type Clock, DEFAULT_AUTHORITY_AUDIENCE, systemClock } from "@brevet/protocol";
import type { EntitlementOffer } from "@brevet/protocol/brevet/v1/error";
import { authorityOrigin, type IdentitySource, type TlsOptions } from "../connection/connection.ts";
import type { ClientLogger } from "../connection/logger.ts";
import { durationOption } from "./duration.ts";
import type { BufferLimit } from "./outbox.ts";
import type { ProgressEvent } from "./progress.ts";

/** What a reason is asked for. */
export interface ReasonContext {
  /** `package.Service/Method`. */
  readonly method: string;
  readonly audience: string;
  /** What will be asked for; undefined where the refusal did not say, and the authority chooses. */
  readonly entitlement: EntitlementOffer | undefined;
}

/** What elevate() takes. */
export interface ElevateOptions {
  /** `https://host:port` of the authority; `http://` on this machine only. No other is ever asked. */
  readonly authority: string;
  /** The deployment that is called. */
  readonly audience: string;
  /**
   * Gives the identity token for an audience: the service's, for its calls, and the authority's. Called for each call; cache where that is
   * costly. Clients with the same function share one connection and one watch. A call waits for its first token until its deadline, without one
   * for as long as it takes; after an approval for the rest of `wait`, 5 s at least.
   */
  readonly identity: IdentitySource;
  /** Longest wait for an approval, "10m" or milliseconds; "10m" unless told. Apart from the call's deadline. */
  readonly wait?: string | number;
  /** Why, for the approvers. A function answers at once: a promise ends the call as INTERNAL. */
  readonly reason?: string | ((context: ReasonContext) => string);
  /** For how long to ask, "15m"; the entitlement's default unless told. */
  readonly for?: string | number;
  /** Chooses among what may be asked for: an entitlement's id, or undefined to pass the refusal on. Needed for break-glass. Answers at once. */
  readonly choose?: (offers: readonly EntitlementOffer[]) => string | undefined;
  /**
   * How much of what a call streams to the service is kept until it is admitted, so that it can be issued again: `messages`, 100 unless told, and
   * `bytes` as they go over the wire, 65,536 unless told. A refused call that has sent more is not parked: what it needs is asked for, and it
   * ends with the refusal. Zero messages: no such call is ever parked.
   */
  readonly buffer?: Partial<BufferLimit>;
  /** Hears of the steps of calls that need an elevation. */
  readonly onProgress?: (event: ProgressEvent) => void;
  /**
   * How long before a window ends `onProgress` and the logger hear of it, "1m" or milliseconds; "1m" unless told, and never more than a fifth
   * of what is left when the window is first heard of.
   */
  readonly warnBefore?: string | number;
  /** Tell the authority what this side saw of refusals (names of headers, codes, clock; never values), for those who explain them. True unless told. */
  readonly report?: boolean;
  /** Towards the authority. */
  readonly tls?: TlsOptions;
  /** "grant": once elevated, show a grant on each call also where the identity is enough. "identity" unless told. */
  readonly present?: "identity" | "grant";
  /** The authority's own audience; "brevet" unless told. Never equal to `audience`. */
  readonly authorityAudience?: string;
  /** Aborting ends all waits as CANCELLED; later refusals are passed on. */
  readonly signal?: AbortSignal;
  /** One line for each refusal received, with its decision id. None unless told. */
  readonly logger?: ClientLogger;
  readonly clock?: Clock;
}

/** The options, checked and complete. */
export interface Settings extends Pick<ElevateOptions, "audience" | "identity" | "choose" | "onProgress" | "signal" | "logger"> {
  /** Origin of the authority. */
  readonly authority: string;
  readonly authorityAudience: string;
  readonly tls: TlsOptions | undefined;
  readonly waitMs: number;
  readonly durationMs: number | undefined;
  readonly reason: (context: ReasonContext) => string;
  readonly alwaysGrant: boolean;
  readonly buffer: BufferLimit;
  readonly warnBeforeMs: number;
  readonly report: boolean;
  readonly clock: Clock;
}

const BUFFER: BufferLimit = { messages: 100, bytes: 65_536 };

/** Checks the options. Throws TypeError, naming the option, for what could not work. */
export function checkOptions(options: ElevateOptions): Settings {
  const { audience, reason = "", authorityAudience = DEFAULT_AUTHORITY_AUDIENCE } = options;
  if (audience === "") throw new TypeError("audience: name the deployment that is called");
  if (audience === authorityAudience)
    throw new TypeError(`audience: "${audience}" is the authority's own; a service with that audience could act as its callers`);
  return {
    ...options,
    authority: authorityOrigin(options.authority),
    audience,
    authorityAudience,
    tls: options.tls,
    waitMs: durationOption("wait", options.wait ?? "10m"),
    durationMs: options.for === undefined ? undefined : durationOption("for", options.for),
    reason: typeof reason === "string" ? () => reason : reason,
    alwaysGrant: options.present === "grant",
    buffer: bufferOption(options.buffer),
    warnBeforeMs: durationOption("warnBefore", options.warnBefore ?? "1m"),
    report: options.report ?? true,
    clock: options.clock ?? systemClock,
  };
}

function bufferOption(given: Partial<BufferLimit> = {}): BufferLimit {
  const { messages = BUFFER.messages, bytes = BUFFER.bytes } = given;
  for (const [name, value] of Object.entries({ messages, bytes }))
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`buffer.${name}: ${value} is no whole number from 0 up`);
  return { messages, bytes };
}
