import assert from "node:assert/strict";
import { test } from "node:test";
import { Reason } from "../gen/brevet/v1/reason_pb.ts";
import { type CatalogueEntry, catalogue, isReasonName } from "./catalogue.ts";
import { codeName, GrpcCode } from "./code.ts";

const entries: CatalogueEntry[] = Object.values(catalogue);
const fromApi = Object.keys(Reason).filter((name) => name !== "UNSPECIFIED");

test("the catalogue has every reason of the API, and no other", () => {
  assert.deepEqual(Object.keys(catalogue).toSorted(), fromApi.toSorted());
  for (const [name, entry] of Object.entries(catalogue)) assert.equal(entry.reason, name);
});

test("no reason lacks words, causes, remedies, a class or keys", () => {
  for (const entry of entries) {
    for (const text of [entry.what, entry.callerRemedy, entry.operatorRemedy]) {
      assert.match(text, /^[A-Z`].{10,}[.!]$/s, `${entry.reason}: ${text}`);
      assert.equal(text.length <= 300, true, `${entry.reason} is wordy`);
    }
    assert.ok(entry.causes.length > 0 && entry.causes.every((cause) => cause.length > 10), entry.reason);
    assert.ok(entry.metadata.length > 0, entry.reason);
    for (const key of entry.metadata) assert.match(key, /^[a-z][A-Za-z0-9]*$/, entry.reason);
    assert.equal(new Set(entry.metadata).size, entry.metadata.length, `${entry.reason} lists a key twice`);
  }
});

test("no two reasons say the same", () => {
  assert.equal(new Set(entries.map(({ what }) => what)).size, entries.length);
});

test("the code follows from the kind of refusal", () => {
  const families: [RegExp, number][] = [
    [/^(IDENTITY_|STEP_UP_)/, GrpcCode.UNAUTHENTICATED],
    [/^(ELEVATION_|GRANT_|NOT_ELIGIBLE|METHOD_FORBIDDEN|CONDITION_NOT_MET|POLICY_MISCONFIGURED)/, GrpcCode.PERMISSION_DENIED],
    [/^(NOT_AN_APPROVER|SELF_APPROVAL|ROLE_REQUIRED)/, GrpcCode.PERMISSION_DENIED],
    [/^APPROVAL_WAIT_TIMEOUT/, GrpcCode.DEADLINE_EXCEEDED],
    [/^(AUTHORITY_UNREACHABLE|POLICY_UNAVAILABLE|POLICY_STALE|KEYS_UNAVAILABLE)/, GrpcCode.UNAVAILABLE],
    [/^REQUEST_QUOTA_EXCEEDED/, GrpcCode.RESOURCE_EXHAUSTED],
    [/^GUARD_FAULT/, GrpcCode.INTERNAL],
    [/^(ALREADY_|OUTSIDE_SCHEDULE|QUORUM_UNREACHABLE|NO_APPROVER)/, GrpcCode.FAILED_PRECONDITION],
    [/^REVISION_CHANGED/, GrpcCode.ABORTED],
    [/^(DURATION_|REASON_|PAYLOAD_|POLICY_INVALID|REQUEST_INVALID)/, GrpcCode.INVALID_ARGUMENT],
    [/^NOT_FOUND/, GrpcCode.NOT_FOUND],
  ];
  for (const entry of entries) {
    const [family, ...others] = families.filter(([pattern]) => pattern.test(entry.reason));
    assert.deepEqual(others, [], entry.reason);
    assert.equal(entry.code, family?.[1], `${entry.reason} is ${codeName(entry.code)}`);
  }
});

test("only what is unavailable is tried again blindly", () => {
  for (const entry of entries) assert.equal(entry.retry === "backoff", entry.code === GrpcCode.UNAVAILABLE, entry.reason);
});

test("what somebody decided against is not asked for again by a program", () => {
  for (const reason of ["ELEVATION_DENIED", "ELEVATION_REVOKED", "NOT_ELIGIBLE", "METHOD_FORBIDDEN"] as const)
    assert.equal(catalogue[reason].retry, "never");
});

test("a refusal for want of an identity says nothing of the policy", () => {
  for (const entry of entries.filter(({ code }) => code === GrpcCode.UNAUTHENTICATED)) {
    for (const key of ["principal", "policyVersion", "entitlement", "elevation"]) assert.ok(!entry.metadata.includes(key), entry.reason);
  }
});

test("remedies name only commands that exist", () => {
  const commands =
    "serve guard demo login logout whoami request list show watch approve deny withdraw start extend end revoke review exec grant token explain doctor policy guards audit backup restore";
  const known = new Set(commands.split(" "));
  for (const entry of entries) {
    for (const text of [...entry.causes, entry.callerRemedy, entry.operatorRemedy]) {
      for (const [, command] of text.matchAll(/`brevet ([a-z]+)/g)) assert.ok(command && known.has(command), `${entry.reason}: ${command}`);
    }
  }
});

test("a name is a reason only if the catalogue has it", () => {
  assert.equal(isReasonName("ELEVATION_REQUIRED"), true);
  for (const name of ["", "elevation_required", "REASON_ELEVATION_REQUIRED", "UNSPECIFIED", "constructor", "__proto__", "toString"])
    assert.equal(isReasonName(name), false, name);
});

test("codes have their gRPC names", () => {
  assert.equal(codeName(7), "PERMISSION_DENIED");
  assert.equal(codeName(99), "CODE_99");
});

test("planned reasons are known to be planned", (context) => {
  const planned = entries.filter((entry) => entry.planned).map((entry) => entry.reason);
  context.diagnostic(`planned, raised by nothing yet: ${planned.length === 0 ? "none" : planned.join(", ")}`);
  assert.ok(planned.length < entries.length / 10);
});
