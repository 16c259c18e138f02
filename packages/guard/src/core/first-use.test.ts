// What happens while the authority answers a first use counts for the call that waits, as for any other.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ElevationState } from "@brevet/protocol/brevet/v1/elevation";
import { makeKeys, POLICY, requestOf, SAM } from "../testdata/facts.ts";
import { Known } from "../testdata/known.ts";
import type { GuardedCall } from "./call.ts";

const keys = await makeKeys();
const request = requestOf(7);
const payloadDigest = createHash("sha256").update(request).digest();

/** The start of a window, and the one use of an approval. */
const USES = {
  Refund: { state: ElevationState.SCHEDULED },
  Bound: { entitlement: "bound", methods: ["test.v1.Ledger/Bound"], payloadDigest },
} as const;
type Method = keyof typeof USES;
const BOTH = Object.keys(USES) as Method[];

/** A call whose first use is answered well, after `meanwhile` happened. */
async function waiting(
  method: Method,
  meanwhile: (known: Known) => void,
  policy = POLICY,
  seconds = 3600,
): Promise<{ known: Known; asked: () => number; call: Partial<GuardedCall>; outcome: Promise<string> }> {
  const known = new Known(keys, policy);
  const token = await known.as(SAM, { exp: Math.floor(known.nowMs / 1000) + seconds });
  // A token seen before: the call goes to the authority at once.
  await known.decide("GetEntry", { authorization: [token] });
  const { id } = known.elevate(USES[method]);
  let asked = 0;
  known.use = () => {
    asked += 1;
    const fields = method === "Bound" ? USES.Bound : {};
    const used = known.make({ ...fields, id, endsInMs: 36_000_000 });
    meanwhile(known);
    return Promise.resolve({ ok: true, elevation: method === "Bound" ? { ...used, payloadUseTime: used.createTime } : used } as const);
  };
  const call = { authorization: [token], ...(method === "Bound" && { request }) };
  return { known, asked: () => asked, call, outcome: known.outcome(method, call) };
}

test("a first use that takes its time is permitted, by one answer", async () => {
  for (const method of BOTH) {
    const { asked, outcome } = await waiting(method, () => {});
    assert.deepEqual([await outcome, asked()], ["permit", 1], method);
  }
});

test("a guard that went stale while the authority answered permits no first use", async () => {
  for (const method of BOTH) {
    const late = (known: Known): void => void (known.nowMs += 60_000);
    const { outcome } = await waiting(method, late, `${POLICY}\nwhenStale: { after: 10s, then: deny }\n`);
    assert.equal(await outcome, "POLICY_STALE", method);
  }
});

test("a clock in doubt after the answer is waited for", async () => {
  for (const method of BOTH) {
    const doubt = Promise.withResolvers<void>();
    const { known, asked, outcome } = await waiting(method, (at) => void (at.settling = doubt.promise));
    let answered = "";
    const later = outcome.then((reason) => (answered = reason));
    await new Promise(setImmediate);
    assert.equal(answered, "", method);
    known.nowMs += 36_000_000;
    known.heard();
    known.settling = undefined;
    doubt.resolve();
    assert.deepEqual([await later, asked()], ["IDENTITY_EXPIRED", 1]);
  }
});

test("a clock that settles where it was lets the first use pass", async () => {
  for (const method of BOTH) {
    const doubt = Promise.withResolvers<void>();
    const { known, outcome } = await waiting(method, (at) => void (at.settling = doubt.promise));
    await new Promise(setImmediate);
    known.settling = undefined;
    doubt.resolve();
    assert.equal(await outcome, "permit", method);
  }
});

test("identity is judged again after the answer: by the time, and by new keys and policies", async () => {
  const others = await makeKeys();
  for (const method of BOTH) {
    const expired = await waiting(
      method,
      (at) => {
        at.nowMs += 40_000;
        at.heard();
      },
      POLICY,
      5,
    );
    assert.equal(await expired.outcome, "IDENTITY_EXPIRED", method);
    const removed = await waiting(method, (at) => at.setKeys(others.peopleJwks));
    assert.equal(await removed.outcome, "IDENTITY_SIGNATURE_INVALID", method);
    const same = await waiting(method, (at) => at.setKeys());
    assert.deepEqual([await same.outcome, same.asked()], ["permit", 1], method);
  }
});

test("a first use that fails is settled by the policy in force by then", async () => {
  for (const [before, after, kind] of [
    ["observe", "enforce", "refuse"],
    ["enforce", "observe", "permit"],
  ] as const) {
    const known = new Known(keys, `${POLICY}\nmode: ${before}\n`);
    const authorization = [await known.as()];
    known.elevate(USES.Refund);
    known.use = () => {
      known.applyPolicy(`${POLICY}\nmode: ${after}\n`, 2n);
      return Promise.resolve({ ok: false, reason: "ELEVATION_REVOKED", problem: "it was revoked" });
    };
    const decision = await known.decide("Refund", { authorization });
    assert.equal(decision.kind, kind);
  }
});

test("a start that the authority says was made, and was not, is asked for once", async () => {
  const known = new Known(keys);
  const authorization = [await known.as()];
  const elevation = known.elevate(USES.Refund);
  let asked = 0;
  known.use = () => {
    asked += 1;
    return Promise.resolve({ ok: true, elevation });
  };
  assert.deepEqual([await known.outcome("Refund", { authorization }), asked], ["AUTHORITY_UNREACHABLE", 1]);
});
