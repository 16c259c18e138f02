// One table of inputs and the verdict that every guard form gives on them, over all kinds of calls.
// Owns how a case is put and run; the cases are in the files named after what they are about.
import assert from "node:assert/strict";
import { WINDOW_ENDS_TRAILER } from "@brevet/protocol";
import { assertRefusal, type ExpectedRefusal, shownAnswer } from "./guard-answer.ts";
import type { ScriptedAuthority } from "./guard-authority.ts";
import { elevationCases } from "./guard-elevation.ts";
import type { ElevationFields, Facts, TokenFaults } from "./guard-facts.ts";
import { grantCases } from "./guard-grant.ts";
import { identityCases } from "./guard-identity.ts";
import { policyCases } from "./guard-policy.ts";
import type { GuardScene } from "./guard-scene.ts";
import type { Headers, WireAnswer } from "./guard-wire.ts";
import { type Group, type Kind, kindsOf, methodOf, requestOf } from "./guard-world.ts";

/** What a case is given to prepare its calls with. */
export interface Given {
  /** A principal that no other case has. */
  readonly who: string;
  /** An elevation's id that no other case has. */
  readonly id: string;
  readonly facts: Facts;
  readonly authority: ScriptedAuthority;
  /** `authorization` of {@link who}. */
  as(faults?: TokenFaults): Headers;
  /** An elevation of {@link who} for the case's group, told to the guards. */
  elevate(fields?: Partial<ElevationFields>): ReturnType<ScriptedAuthority["elevate"]>;
}

/** The call is let through. */
export interface ExpectedRun {
  readonly runs: true;
  /** It rests on a running window, and says when that ends. */
  readonly window: boolean;
}

/** One row of the table. */
export interface VerdictCase {
  /** The promise. */
  readonly name: string;
  /** Whose methods are called; default `Plain`. */
  readonly group?: Group;
  /** Default: all that the group has. */
  readonly kinds?: readonly Kind[];
  /** Instead of a method of the group. */
  readonly method?: (kind: Kind) => string;
  /** Says what the authority knows; gives the metadata of the calls. */
  given(given: Given): Headers;
  /** The one message of each call; default: a small amount. */
  readonly message?: Uint8Array;
  readonly expects: ExpectedRefusal | ExpectedRun;
}

/** All cases. */
export const verdictCases: readonly VerdictCase[] = [...identityCases, ...elevationCases, ...grantCases, ...policyCases];

/** The answer to one call of a case, and whether its handler ran. */
export interface VerdictAnswer {
  readonly kind: Kind;
  readonly answer: WireAnswer;
  readonly handled: boolean;
}

/** Metadata of the calls of one case; the authority knows what it has to. `number`: of the case, for names of its own. */
export function prepare(one: VerdictCase, number: number, scene: Pick<GuardScene, "authority">): Headers {
  const { authority } = scene;
  const who = `user:case-${number}@acme.test`;
  const id = `elv_case${number}`;
  const group = one.group ?? "Plain";
  return one.given({
    who,
    id,
    facts: authority.facts,
    authority,
    as: (faults) => [["authorization", `Bearer ${authority.facts.token(who, faults)}`]],
    elevate: (fields) => authority.elevate({ id, principal: who, group, ...fields }),
  });
}

/** Calls what a case calls, one kind after the other. */
export async function answersOf(
  one: VerdictCase,
  headers: Headers,
  scene: Pick<GuardScene, "client" | "service">,
): Promise<readonly VerdictAnswer[]> {
  const answers: VerdictAnswer[] = [];
  const group = one.group ?? "Plain";
  for (const kind of one.kinds ?? kindsOf(group)) {
    const before = scene.service.handled.length;
    const method = one.method?.(kind) ?? methodOf(group, kind);
    const answer = await scene.client.call(method, headers, [one.message ?? requestOf(5)]);
    answers.push({ kind, answer, handled: scene.service.handled.length > before });
  }
  return answers;
}

/** Compares the answers to a case with what it expects. */
export function assertVerdict(one: VerdictCase, headers: Headers, answers: readonly VerdictAnswer[]): void {
  const { expects } = one;
  for (const { kind, answer, handled } of answers) {
    if ("runs" in expects) {
      assert.equal(answer.code, 0, `${kind} ${shownAnswer(answer)}`);
      assert.ok(handled, `${kind}: the handler ran`);
      assert.deepEqual(answer.messages, [Buffer.from(one.message ?? requestOf(5))], `${kind}: the message went both ways`);
      assert.equal(answer.trailers[WINDOW_ENDS_TRAILER] !== undefined, expects.window, `${kind}: ${WINDOW_ENDS_TRAILER}`);
      continue;
    }
    assertRefusal(answer, expects, kind, [...new Set(headers.map(([name]) => name))]);
    assert.equal(handled, false, `${kind}: no handler ran`);
    assertNothingEchoed(answer, headers, kind);
  }
}

/** No part of a credential comes back. */
function assertNothingEchoed(answer: WireAnswer, headers: Headers, kind: Kind): void {
  const sent = headers.filter(([name]) => name === "authorization" || name === "brevet-grant").flatMap(([, value]) => value.split(/[ ,.]/));
  const encoded = answer.trailers["grpc-status-details-bin"];
  const received = answer.message + (typeof encoded === "string" ? Buffer.from(encoded, "base64").toString("latin1") : "");
  for (const part of sent) if (part.length >= 20) assert.ok(!received.includes(part), `${kind}: a credential was sent back`);
}
