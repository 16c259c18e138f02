// The authority: starts, wires and ends all of its parts. The only file that knows them all; never does any of their work.
import { writeFile } from "node:fs/promises";
import { uptime } from "node:os";
import { join } from "node:path";
import { type Clock, DEFAULT_AUTHORITY_AUDIENCE, newId, systemClock } from "@brevet/protocol";
import { type Logger, pino } from "pino";
import type { DecisionBounds } from "./decisions/decisions.ts";
import { openEmbeddedDecisions } from "./decisions/embedded.ts";
import { DecisionIntake } from "./decisions/intake.ts";
import { ReadableDecisions } from "./decisions/readable.ts";
import { Elevations } from "./elevation/elevations.ts";
import { evolve, nextDueMs } from "./elevation/evolve.ts";
import { ReadableElevations } from "./elevation/readable.ts";
import { ElevationTimer } from "./elevation/timer.ts";
import { Enforcements } from "./guards/enforcement.ts";
import { PolicyBook, type PolicyFile } from "./guards/policies.ts";
import { Probe } from "./guards/probe.ts";
import { GuardRegistry } from "./guards/registry.ts";
import { GuardLink } from "./guards/sync.ts";
import { adminHandler } from "./http/admin.ts";
import { listen, type RequestHandler, refusePlaintext, type ServerTls } from "./http/listen.ts";
import { notYet, requestHandler } from "./http/requests.ts";
import { rpcHandler } from "./http/rpc.ts";
import { DevelopmentIssuer, isForDevelopment, type SignIn } from "./identity/development.ts";
import { fetchText, isLoopbackHost } from "./identity/fetch.ts";
import { Identities } from "./identity/identity.ts";
import { Grants } from "./issuer/grants.ts";
import { GrantKeys } from "./issuer/keys.ts";
import { Log } from "./log/log.ts";
import { authenticationGate } from "./rpc/authentication.ts";
import { routes } from "./rpc/routes.ts";
import { translateErrors } from "./rpc/status.ts";
import { openEmbeddedStore } from "./store/embedded/embedded.ts";
import type { Store } from "./store/store.ts";
import { AuthorityClock, spanOf, startProblem } from "./time/authority-clock.ts";
import { lastKnownMs, TimeNotes } from "./time/known-time.ts";
import { ElevationWatches } from "./watch/elevations.ts";
import { ReadableLog } from "./watch/entries.ts";
import { WaitingCalls } from "./watch/waiting.ts";

export type { DecisionBounds } from "./decisions/decisions.ts";
export type { PolicyFile } from "./guards/policies.ts";
export type { ServerTls } from "./http/listen.ts";

/** How to run an authority. */
export interface AuthorityOptions {
  /** Directory of the embedded store; made where it is missing. */
  readonly data: string;
  /** Default: a free port on 127.0.0.1. Without `tls`, loopback only. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** Health, plaintext; default: a free port on 127.0.0.1; false: none. */
  readonly admin?: { readonly host: string; readonly port: number } | false;
  readonly tls?: ServerTls;
  /** Seed an empty log; later differences are reported to the logger, never applied. */
  readonly policies?: PolicyFile[];
  /** The authority's own audience, of identity tokens made for it; default `brevet`. */
  readonly audience?: string;
  /** Origin of the pages, for links; default: where it listens. */
  readonly publicUrl?: string;
  /** `iss` of grants; default: the public URL. */
  readonly issuer?: string;
  /** Signs in made-up people; loopback only, and only with a data directory that was never in real use. */
  readonly dev?: boolean;
  /** The machine's; the authority's own time runs on it. Default: the system's. */
  readonly clock?: Clock;
  /** The wall clock is right, though it is more than 5 minutes before the last time that the authority knew, or more than 30 days after it. */
  readonly acceptClock?: boolean;
  /** How many decisions of guards are kept; default: 100,000, 64 MiB and 30 days for each audience, see {@link DecisionBounds}. */
  readonly decisions?: Partial<DecisionBounds>;
  /** Default: warnings and worse on standard error; false: nothing. */
  readonly logger?: Logger | false;
}

/** A running authority. Disposing drains it, and ends it. */
export interface Authority extends AsyncDisposable {
  /** Where it listens. */
  readonly url: string;
  readonly adminUrl?: string;
  readonly dev?: {
    /** Signs in made-up people at `POST /dev/token`. */
    readonly code: string;
    readonly issuer: string;
    /** A token of a made-up person; `ttl` in seconds. */
    token(principal: string, options: Omit<SignIn, "principal">): Promise<string>;
  };
  /** Takes no more calls, ends streams with UNAVAILABLE, and lets calls end. Resolves when all are gone. */
  drain(): Promise<void>;
}

const LOOPBACK = { host: "127.0.0.1", port: 0 };
const GRACE_MS = 5000;

/** Starts an authority. @throws Error that says what is in the way: options that contradict, a data directory in use, a clock that is far from the log, a policy with errors. */
export async function startAuthority(options: AuthorityOptions): Promise<Authority> {
  const { audience = DEFAULT_AUTHORITY_AUDIENCE } = options;
  const logger = loggerOf(options.logger);
  const clock = authorityClock(options, logger);
  checkOptions(options);
  await using starting = new AsyncDisposableStack();
  // First: where the ports are taken, nothing is made or written.
  let answer: RequestHandler = notYet;
  let answerAdmin: RequestHandler = notYet;
  const listener = await listen({ ...(options.listen ?? LOOPBACK), ...(options.tls ? { tls: options.tls } : {}) }, (request, response) =>
    answer(request, response),
  );
  starting.defer(() => listener.close(0));
  const admin =
    options.admin === false
      ? undefined
      : await listen({ ...(options.admin ?? LOOPBACK), public: true }, (request, response) => answerAdmin(request, response));
  if (admin) starting.defer(() => admin.close(0));
  const publicUrl = options.publicUrl?.replace(/\/$/, "") ?? listener.url;
  const issuer = options.issuer ?? publicUrl;

  const store = starting.use(await openEmbeddedStore(options.data, { clock }));
  const lastMs = await resumeTime(clock, store, options);
  const development = await developmentOf(store, options, clock);
  development?.serveAt(listener.url);
  const log = starting.use(await Log.open({ store, newId, fold: { evolve, nextDueMs } }));
  const noteFault = (error: unknown) => logger.error({ err: error }, "the time could not be noted");
  starting.use(new TimeNotes({ clock, store, lastMs, confirmed: options.acceptClock ?? false, onFault: noteFault }));
  const policies = starting.use(await PolicyBook.open({ log, logger, authorityAudience: audience }, options.policies));

  const drainer = new AbortController();
  const drain = drainer.signal;

  const identities = starting.use(
    new Identities({
      policies,
      audience,
      clock,
      logger,
      fetchText,
      random: Math.random,
      ...(development ? { development } : {}),
    }),
  );
  const grants = new Grants({ issuer, keys: new GrantKeys(store, clock) });
  const waiting = new WaitingCalls(clock);
  const readable = new ReadableElevations({ view: store, policies });
  const isWaiting = (elevation: string) => waiting.isWaiting(elevation);
  const elevations = new Elevations({ log, policies, newId, clock, grants, isWaiting });
  starting.use(
    new ElevationTimer({ log, policies, clock, onFault: (error) => logger.error({ err: error }, "what is due could not be written") }),
  );
  const kept = starting.use(await openEmbeddedDecisions(options.data, { clock, ...(options.decisions && { bounds: options.decisions }) }));
  const decisions = new ReadableDecisions({ decisions: kept, view: store, policies, clock });
  const registry = await GuardRegistry.open({ clock, policies, secrets: store.secrets });
  const link = new GuardLink({
    log,
    policies,
    identities,
    grants,
    clock,
    issuer,
    publicUrl,
    registry,
    decisions: new DecisionIntake(kept, logger),
    logger,
    drain,
  });
  const watches = new ElevationWatches({ log, readable, waiting, clock, drain });
  const enforcements = new Enforcements({ registry, clock });
  const rpc = rpcHandler({
    routes: routes({
      elevation: { elevations, readable, watches, waiting, enforcements, decisions },
      policy: { view: store, policies, decisions, authorityAudience: audience },
      guard: { link, probe: new Probe({ clock, policies, grants, identities }) },
      log: { log, readable: new ReadableLog({ log, policies, clock, drain }) },
      gate: authenticationGate({ identities, drain, logger }),
      drain,
    }),
    interceptors: [translateErrors(logger)],
    logger,
    drain,
  });
  answer = requestHandler({ rpc, grants, development, publicUrl: () => publicUrl, logger });
  answerAdmin = adminHandler({ ready: () => problemOf(store, drain) });
  if (development) await writeCode(options.data, listener.url, development);
  logger.info(
    { url: listener.url, audience, policies: policies.policies().map((policy) => policy.audience), dev: options.dev === true },
    "the authority listens",
  );

  const parts = starting.move();
  let drained: Promise<void> | undefined;
  const drainAll = () => {
    drainer.abort();
    return (drained ??= listener.close(GRACE_MS));
  };
  let disposed: Promise<void> | undefined;
  return {
    url: listener.url,
    ...(admin ? { adminUrl: admin.url } : {}),
    ...(development
      ? {
          dev: {
            code: development.code,
            issuer: development.issuer,
            token: (principal, asked) => development.token({ ...asked, principal }),
          },
        }
      : {}),
    drain: drainAll,
    [Symbol.asyncDispose]: () => (disposed ??= drainAll().then(() => parts.disposeAsync())),
  };
}

function loggerOf(given: Logger | false | undefined): Logger {
  if (given === false) return pino({ level: "silent" });
  return given ?? pino({ level: "warn" }, pino.destination(2));
}

function authorityClock({ clock: given }: AuthorityOptions, logger: Logger): AuthorityClock {
  return new AuthorityClock({
    machine: given ?? systemClock,
    ...(given ? {} : { bootMs: () => uptime() * 1000 }),
    onParted: (aheadMs) => {
      const where = `${spanOf(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead of" : "behind"} the authority's time`;
      logger.warn(
        { aheadMs: Math.round(aheadMs) },
        `the machine's clock is ${where}, which goes on evenly: set the machine's clock right; if it is, a restart takes its time`,
      );
    },
  });
}

/** Goes on from the last known time, which it answers; 0 for none. @throws Error where the wall clock is too far from it, and nobody confirmed that. */
async function resumeTime(clock: AuthorityClock, store: Store, { acceptClock = false }: AuthorityOptions): Promise<number> {
  const lastMs = await lastKnownMs(store);
  if (lastMs === 0) return 0;
  const problem = acceptClock ? undefined : startProblem(lastMs, clock.wallMs());
  if (problem !== undefined) throw new Error(problem);
  clock.notBefore(lastMs);
  return lastMs;
}

function checkOptions({ dev, listen: at = LOOPBACK, publicUrl, issuer, tls }: AuthorityOptions): void {
  // Before anything is made or opened.
  refusePlaintext({ ...at, ...(tls ? { tls } : {}) });
  if (publicUrl !== undefined && !(URL.canParse(publicUrl) && /^https?:$/.test(new URL(publicUrl).protocol)))
    throw new Error(`the public URL is no http(s) URL: ${publicUrl}`);
  if (dev !== true) return;
  const shown = at.host.includes(":") ? `[${at.host}]` : at.host;
  if (!isLoopbackHost(shown)) throw new Error(`--dev is for loopback only, not for ${at.host}`);
  if (issuer !== undefined) throw new Error("--dev makes an issuer of its own: it does not go with a configured one");
  if (publicUrl !== undefined && !isLoopbackHost(new URL(publicUrl).hostname))
    throw new Error("--dev is for loopback only: the public URL is not");
  if (tls?.clientCa !== undefined) throw new Error("--dev signs in made-up people: it does not go with client certificates");
}

async function developmentOf(store: Store, { dev, data }: AuthorityOptions, clock: Clock): Promise<DevelopmentIssuer | undefined> {
  if (dev === true) return DevelopmentIssuer.open(store, clock);
  if (await isForDevelopment(store))
    throw new Error(
      `${data} is marked as a directory for development: made-up people approved what is in it; start with --dev, or with another directory`,
    );
  return undefined;
}

/** Where commands on this machine find the code. */
async function writeCode(data: string, url: string, { issuer, code }: DevelopmentIssuer): Promise<void> {
  await writeFile(join(data, "dev.json"), `${JSON.stringify({ url, issuer, code })}\n`, { mode: 0o600 });
}

/** Why it takes no calls; undefined where it does. */
async function problemOf(store: Store, drain: AbortSignal): Promise<string | undefined> {
  if (drain.aborted) return "draining";
  await store.head();
  return undefined;
}
