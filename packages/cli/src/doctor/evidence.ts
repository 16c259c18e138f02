// What the doctor looks at before it judges: asked once, all at the same time, each with its own limit. Judges nothing, changes nothing.
import { PROBE_METHOD, type ReceivedStatus, readStatus, systemClock } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { type GuardServiceProbeResponse, GuardServiceProbeResponseSchema, type GuardStatus } from "@brevet/protocol/brevet/v1/guard";
import type { DecisionRecord, PolicyVersion } from "@brevet/protocol/brevet/v1/policy";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import type { Connection } from "../connection/connection.ts";
import { type Certificate, type Place, placeOf, type WireAnswer, wireCall } from "./wire.ts";

/** How an ask of the authority went. */
export type Asked<T> =
  | { readonly kind: "answer"; readonly value: T }
  | { readonly kind: "refused"; readonly status: ReceivedStatus }
  | { readonly kind: "none"; readonly why: string };

/** What a clock said: ahead of this machine's by so much, known to within `errorMs`. */
export interface ClockSample {
  readonly aheadMs: number;
  readonly errorMs: number;
}

/** A guarded service as it was reached. */
export interface TargetEvidence {
  readonly target: string;
  readonly place: Place;
  readonly certificate?: Certificate;
  /** Names of the metadata that were sent with the probe. */
  readonly sent: readonly string[];
  readonly probe:
    | { readonly kind: "answer"; readonly value: GuardServiceProbeResponse; readonly clock: ClockSample | undefined }
    | Exclude<WireAnswer, { kind: "message" }>
    | { readonly kind: "no-token"; readonly why: string };
  /** The method called with headers only, with and without an identity. */
  readonly method?: { readonly name: string; readonly anonymous: WireAnswer; readonly known?: WireAnswer };
}

/** Everything. */
export interface Evidence {
  readonly authority: string;
  readonly audience: string;
  readonly nowMs: number;
  readonly hasIdentity: boolean;
  readonly authorityToken: string | undefined;
  readonly serviceToken: string | undefined;
  readonly authorityAudience: string;
  readonly authorityReach: WireAnswer;
  readonly probe: Asked<{ readonly value: GuardServiceProbeResponse; readonly clock: ClockSample | undefined }>;
  readonly guards: Asked<readonly GuardStatus[]>;
  readonly decisions: Asked<readonly DecisionRecord[]>;
  readonly policy: Asked<PolicyVersion | undefined>;
  /** How long people took to decide, milliseconds, of what the caller may list. */
  readonly approvalsMs: Asked<readonly { readonly method: string; readonly tookMs: number }[]>;
  readonly targets: readonly TargetEvidence[];
  /** Clocks of third parties, by name. */
  readonly others: readonly { readonly name: string; readonly clock: ClockSample }[];
  /** The issuer's own keys, where they could be had. */
  readonly issuerKeyIds: { readonly issuer: string; readonly keyIds: readonly string[] } | undefined;
}

/** What to look at. */
export interface Wanted {
  readonly connection: Connection;
  readonly audience: string;
  readonly authorityAudience: string;
  readonly targets: readonly string[];
  readonly method: string | undefined;
  readonly ca: string | undefined;
  readonly targetCa: string | undefined;
  /** Token for the service, where it is another than the connection gives. */
  readonly serviceToken: ((audience: string) => Promise<string>) | undefined;
  readonly onStep: (what: string) => void;
}

/** Sent with every call of the doctor's, so that it does not take its own for somebody's fault. */
export const OWN_HEADER = "x-brevet-doctor";
const TIMEOUT_MS = 5000;
const SILENCE_MS = 1500;
const DAY_MS = 24 * 3_600_000;

/** Gathers it. Never rejects. */
export async function gather(wanted: Wanted): Promise<Evidence> {
  const { connection, audience, authorityAudience, onStep } = wanted;
  const { url, policies, guards, elevations } = connection;
  const nowMs = systemClock.wallMs();
  onStep(`the authority at ${url}`);
  const authorityToken = await tokenOf(connection.token, authorityAudience);
  const service = wanted.serviceToken ?? connection.token;
  const serviceToken = audience === "" ? undefined : await tokenOf(service, audience);
  const limit = { timeoutMs: TIMEOUT_MS };
  const startTime = timestampFromMs(Math.max(0, nowMs - DAY_MS));
  const [authorityReach, probe, listed, decisions, policy, approvalsMs] = await Promise.all([
    reach(url, wanted.ca),
    ask(() => sampled(async () => guards.probe({ headersSent: ["authorization"], audience }, limit))),
    ask(async () => (await guards.list({ audience }, limit)).guards),
    ask(async () => (audience === "" ? [] : (await policies.listDecisions({ audience, startTime, pageSize: 1000 }, limit)).decisions)),
    ask(async () => (audience === "" ? undefined : (await policies.get({ audience }, limit)).version)),
    ask(async () =>
      tookOf((await elevations.list({ pageSize: 200, ...(audience === "" ? {} : { filter: { audience } }) }, limit)).elevations),
    ),
  ]);
  const targets: TargetEvidence[] = [];
  for (const target of wanted.targets) {
    onStep(`the service at ${target}`);
    targets.push(await targetOf(target, wanted, serviceToken));
  }
  const issuer = issuerOf(probe, targets);
  // One that the authority runs itself has the authority's clock.
  const others = issuer === undefined || issuer.startsWith(url) ? [] : await dateOf(issuer);
  return {
    authority: url,
    audience,
    nowMs,
    hasIdentity: connection.token !== undefined,
    authorityToken,
    serviceToken,
    authorityAudience,
    authorityReach,
    probe,
    guards: listed,
    decisions,
    policy,
    approvalsMs,
    targets,
    others,
    issuerKeyIds: issuer === undefined ? undefined : await keysOf(issuer),
  };
}

async function targetOf(target: string, wanted: Wanted, token: string | undefined): Promise<TargetEvidence> {
  const place = placeOf(target);
  if (place === undefined) {
    const none = { host: target, port: 0, tls: false };
    return { target, place: none, sent: [], probe: { kind: "unreachable", cause: "not an address: write host:port" } };
  }
  const at: Place = wanted.targetCa === undefined ? place : { ...place, ca: wanted.targetCa };
  // Anything in the place of a grant: a probe needs none, and only its name is looked at.
  const headers = { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), "brevet-grant": "probe", [OWN_HEADER]: "1" };
  const began = systemClock.wallMs();
  const answer = await wireCall(at, { method: PROBE_METHOD, headers, message: new Uint8Array(), timeoutMs: TIMEOUT_MS });
  const ended = systemClock.wallMs();
  const certificate = answer.certificate === undefined ? {} : { certificate: answer.certificate };
  const base = { target, place: at, sent: Object.keys(headers).toSorted(), ...certificate };
  const method = wanted.method === undefined ? undefined : await methodOf(at, wanted.method, token);
  const beside = method === undefined ? {} : { method };
  if (answer.kind !== "message") return { ...base, probe: answer, ...beside };
  try {
    const value = fromBinary(GuardServiceProbeResponseSchema, answer.message);
    return { ...base, probe: { kind: "answer", value, clock: sampleOf(value, began, ended) }, ...beside };
  } catch {
    return { ...base, probe: { kind: "silent" }, ...beside };
  }
}

/** Never runs the method: no message is sent. */
async function methodOf(place: Place, name: string, token: string | undefined): Promise<NonNullable<TargetEvidence["method"]>> {
  const call = { method: name, message: undefined, timeoutMs: SILENCE_MS };
  const anonymous = await wireCall(place, { ...call, headers: { [OWN_HEADER]: "1" } });
  if (token === undefined) return { name, anonymous };
  return { name, anonymous, known: await wireCall(place, { ...call, headers: { authorization: `Bearer ${token}`, [OWN_HEADER]: "1" } }) };
}

/** Whether anything gRPC answers there, and its certificate; nothing secret is sent. */
async function reach(url: string, ca: string | undefined): Promise<WireAnswer> {
  const place = placeOf(url);
  if (place === undefined) return { kind: "unreachable", cause: "not an address" };
  return wireCall(ca === undefined ? place : { ...place, ca }, {
    method: PROBE_METHOD,
    headers: {},
    message: new Uint8Array(),
    timeoutMs: TIMEOUT_MS,
  });
}

async function ask<T>(call: () => Promise<T>): Promise<Asked<T>> {
  try {
    return { kind: "answer", value: await call() };
  } catch (error) {
    const failed = ConnectError.from(error);
    const details = failed.details.flatMap((detail) =>
      "type" in detail ? [{ typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value }] : [],
    );
    const status = create(StatusSchema, { code: failed.code, message: failed.rawMessage, details });
    const read = readStatus(failed.code, failed.rawMessage, toBinary(StatusSchema, status));
    return read.reason === undefined ? { kind: "none", why: failed.rawMessage } : { kind: "refused", status: read };
  }
}

async function sampled(call: () => Promise<GuardServiceProbeResponse>) {
  const began = systemClock.wallMs();
  const value = await call();
  return { value, clock: sampleOf(value, began, systemClock.wallMs()) };
}

function sampleOf({ time }: GuardServiceProbeResponse, beganMs: number, endedMs: number): ClockSample | undefined {
  if (time === undefined) return undefined;
  return { aheadMs: timestampMs(time) - (beganMs + endedMs) / 2, errorMs: (endedMs - beganMs) / 2 };
}

function tookOf(elevations: readonly Elevation[]) {
  return elevations.flatMap(({ method, createTime, votes }) => {
    const last = votes.at(-1)?.time;
    return createTime === undefined || last === undefined ? [] : [{ method, tookMs: timestampMs(last) - timestampMs(createTime) }];
  });
}

async function tokenOf(source: ((audience: string) => Promise<string>) | undefined, audience: string): Promise<string | undefined> {
  try {
    return await source?.(audience);
  } catch {
    // What keeps it from being had shows where it is wanted.
    return undefined;
  }
}

function issuerOf(probe: Evidence["probe"], targets: readonly TargetEvidence[]): string | undefined {
  const told = probe.kind === "answer" ? probe.value.value.issuer?.issuer : undefined;
  const guards = targets.map(({ probe: each }) => (each.kind === "answer" ? each.value.issuer?.issuer : undefined));
  return [told, ...guards].find((issuer) => issuer !== undefined && /^https?:\/\//.test(issuer));
}

/** The `Date` of an issuer's answer: a third clock, to the second. */
async function dateOf(issuer: string): Promise<Evidence["others"]> {
  try {
    const began = systemClock.wallMs();
    const answer = await fetch(`${issuer}/.well-known/openid-configuration`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      redirect: "error",
    });
    const ended = systemClock.wallMs();
    await answer.body?.cancel();
    const saidMs = Date.parse(answer.headers.get("date") ?? "");
    if (Number.isNaN(saidMs)) return [];
    return [{ name: `the issuer ${issuer}`, clock: { aheadMs: saidMs + 500 - (began + ended) / 2, errorMs: 500 + (ended - began) / 2 } }];
  } catch {
    return [];
  }
}

async function keysOf(issuer: string): Promise<Evidence["issuerKeyIds"]> {
  try {
    const get = async (url: string): Promise<Record<string, unknown>> =>
      (await (await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: "error" })).json()) as Record<string, unknown>;
    const { jwks_uri: uri } = await get(`${issuer}/.well-known/openid-configuration`);
    const { keys } = await get(String(uri));
    return { issuer, keyIds: (keys as { kid?: string }[]).map(({ kid }) => kid ?? "").toSorted() };
  } catch {
    return undefined;
  }
}
