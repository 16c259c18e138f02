// The parts of an authority below the wire, on a real store and log, for tests of what cannot be brought about by API yet.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId, systemClock } from "@brevet/protocol";
import { PolicyAppliedSchema } from "@brevet/protocol/brevet/v1/log";
import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { openEmbeddedDecisions } from "../decisions/embedded.ts";
import { Elevations } from "../elevation/elevations.ts";
import { evolve, nextDueMs } from "../elevation/evolve.ts";
import { ReadableElevations } from "../elevation/readable.ts";
import { PolicyBook } from "../guards/policies.ts";
import { DevelopmentIssuer } from "../identity/development.ts";
import { fetchText } from "../identity/fetch.ts";
import { type AuthenticatedCaller, Identities } from "../identity/identity.ts";
import { Grants } from "../issuer/grants.ts";
import { GrantKeys } from "../issuer/keys.ts";
import { Log } from "../log/log.ts";
import { openEmbeddedStore } from "../store/embedded/embedded.ts";
import { WaitingCalls } from "../watch/waiting.ts";
import { AUDIENCE, policyText } from "./scene.ts";

const ORIGIN = "http://127.0.0.1:1";

/** Opens them, with the policy of {@link policyText} for {@link AUDIENCE}. */
export async function openParts() {
  await using opening = new AsyncDisposableStack();
  const logger = pino({ level: "silent" });
  const clock = systemClock;
  const data = await mkdtemp(join(tmpdir(), "brevet-parts-"));
  opening.defer(() => rm(data, { recursive: true, force: true }));
  const store = opening.use(await openEmbeddedStore(data));
  const decisions = opening.use(await openEmbeddedDecisions(data, { clock }));
  const development = await DevelopmentIssuer.open(store, clock);
  development.serveAt(ORIGIN);
  const log = opening.use(await Log.open({ store, newId, fold: { evolve, nextDueMs } }));
  const policies = opening.use(
    await PolicyBook.open({ log, logger, authorityAudience: "brevet" }, [{ file: "p.yaml", text: policyText() }]),
  );
  const local = { issuer: development.issuer, keys: development.keys };
  const identities = opening.use(
    new Identities({ policies, audience: "brevet", clock, logger, fetchText, random: () => 0.5, development: local }),
  );
  const grants = new Grants({ issuer: ORIGIN, keys: new GrantKeys(store, clock) });
  const waiting = new WaitingCalls(clock);
  const elevations = new Elevations({ log, policies, newId, clock, grants, isWaiting: (id) => waiting.isWaiting(id) });
  const readable = new ReadableElevations({ view: store, policies });
  const gone = new AbortController();
  opening.defer(() => gone.abort());

  const callerAs = async (principal: string): Promise<AuthenticatedCaller> => {
    const token = await development.token({ principal, audience: "brevet" });
    const authentication = await identities.authenticate({ authorization: [`Bearer ${token}`], headersSeen: [] });
    assert.ok(authentication.ok);
    return authentication.caller;
  };
  /** Makes a text the audience's policy, as an applied proposal would. */
  const apply = async (text: string, version: bigint): Promise<void> => {
    const loaded = new Promise<void>((resolve) => {
      const listening = policies.onChange(() => {
        listening[Symbol.dispose]();
        resolve();
      });
    });
    await log.write(async (tx) => {
      const value = create(PolicyAppliedSchema, { version, document: tx.seal(text) });
      tx.append({ audience: AUDIENCE, actor: "", requestId: "", elevation: "", event: { case: "policyApplied", value } });
    });
    await loaded;
  };
  const held = opening.move();
  return {
    log,
    policies,
    identities,
    grants,
    waiting,
    elevations,
    readable,
    decisions,
    clock,
    logger,
    /** Aborted at the end. */
    gone: gone.signal,
    callerAs,
    apply,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
