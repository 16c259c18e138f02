// Idempotency: a repeat is the same request in every field, changes nothing and is answered; anything else under its id is refused.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CallerReportSchema,
  ElevationServiceApproveRequestSchema,
  ElevationServiceDenyRequestSchema,
  ElevationServiceEndRequestSchema,
  ElevationServiceExtendRequestSchema,
  ElevationServiceIssueGrantRequestSchema,
  ElevationServiceRevokeRequestSchema,
  ElevationServiceStartRequestSchema,
  ElevationServiceWithdrawRequestSchema,
  ElevationState,
} from "@brevet/protocol/brevet/v1/elevation";
import { LogEntrySchema, OpeningsErasedSchema } from "@brevet/protocol/brevet/v1/log";
import { create, fromBinary } from "@bufbuild/protobuf";
import type { Answer } from "./caller.ts";
import { granted, inDirectory, TestAuthority } from "./testdata/authority.ts";
import { minutes } from "./testdata/world.ts";

const [RITA, SAM, ANA, ADMIN] = ["user:rita@test", "user:sam@test", "user:ana@test", "user:admin@test"] as const;
const PAIR = { entitlement: "pair", reason: "INC-1" } as const;

async function withAuthority(run: (authority: TestAuthority) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    await using authority = await TestAuthority.start(directory);
    await run(authority);
  });
}

const refused = (answer: Answer<unknown>) => (answer.ok ? "" : `${answer.denial.reason} ${answer.denial.metadata["field"] ?? ""}`);

async function pending(authority: TestAuthority, run = ""): Promise<string> {
  return granted(await authority.request(RITA, { ...PAIR, run })).elevation.id;
}

async function active(authority: TestAuthority): Promise<string> {
  const id = await pending(authority);
  authority.waiting.add(id);
  for (const who of [ANA, "user:bo@test"])
    granted(
      await authority.elevations.approve(
        authority.caller(who),
        create(ElevationServiceApproveRequestSchema, { id, requestId: authority.requestId() }),
      ),
    );
  return id;
}

/** Commands: the first terms, and others that differ in one field. */
const commands: Record<string, (authority: TestAuthority) => Promise<((varied: boolean) => Promise<Answer<unknown>>)[]>> = {
  "a request's waiting": async (authority) => [(varied) => authority.request(RITA, { ...PAIR, requestId: "same-same", waiting: varied })],
  "a request's audience": async (authority) => [
    (varied) => authority.request(RITA, { ...PAIR, requestId: "same-same", ...(varied ? { audience: "" } : {}) }),
  ],
  "an approval's duration and comment": async (authority) => {
    const base = { id: await pending(authority), requestId: "same-same" };
    const approve = (init: object) =>
      authority.elevations.approve(authority.caller(ANA), create(ElevationServiceApproveRequestSchema, { ...base, ...init }));
    return [(varied) => approve(varied ? { duration: minutes(1) } : {}), (varied) => approve(varied ? { comment: "never mind" } : {})];
  },
  "a denial's comment": async (authority) => {
    const base = { id: await pending(authority), requestId: "same-same" };
    const message = (comment: string) => create(ElevationServiceDenyRequestSchema, { ...base, comment });
    return [(varied) => authority.elevations.deny(authority.caller(ANA), message(varied ? "other" : "no"))];
  },
  "a withdrawal's comment": async (authority) => {
    const base = { id: await pending(authority), requestId: "same-same" };
    const message = (comment: string) => create(ElevationServiceWithdrawRequestSchema, { ...base, comment });
    return [(varied) => authority.elevations.withdraw(authority.caller(RITA), message(varied ? "other" : "no"))];
  },
  "an extension's length and reason, and a grant with its id": async (authority) => {
    const base = { id: await active(authority), requestId: "same-same", by: minutes(1) };
    const extend = (init: object) =>
      authority.elevations.extend(authority.caller(RITA), create(ElevationServiceExtendRequestSchema, { ...base, ...init }));
    const { id, requestId } = base;
    const grant = create(ElevationServiceIssueGrantRequestSchema, { id, requestId });
    return [
      (varied) => extend(varied ? { by: minutes(10) } : {}),
      (varied) => extend(varied ? { reason: "more" } : {}),
      async (varied) => (varied ? authority.elevations.issueGrant(authority.caller(RITA), grant) : extend({})),
    ];
  },
  "which elevation is ended": async (authority) => {
    const [id, other] = [await active(authority), await pending(authority, "other")];
    const message = (one: string) => create(ElevationServiceEndRequestSchema, { id: one, requestId: "same-same", all: true });
    return [(varied) => authority.elevations.end(authority.caller(RITA), message(varied ? other : id))];
  },
  "a revocation's comment and target": async (authority) => {
    granted(await authority.request(SAM, PAIR));
    await pending(authority);
    const revoke = (init: object) => {
      const base = { requestId: "same-same", target: { case: "principal", value: RITA } } as const;
      return authority.elevations.revoke(authority.caller(ADMIN), create(ElevationServiceRevokeRequestSchema, { ...base, ...init }));
    };
    return [
      (varied) => revoke(varied ? { comment: "other" } : {}),
      (varied) => revoke(varied ? { target: { case: "principal", value: SAM } } : {}),
    ];
  },
};

for (const [what, prepare] of Object.entries(commands)) {
  test(`a repeat changes nothing, and the same id with other terms is refused: ${what}`, () =>
    withAuthority(async (authority) => {
      const variations = await prepare(authority);
      granted((await variations[0]?.(false)) ?? assert.fail());
      const head = authority.log.position().revision;
      for (const vary of variations) {
        granted(await vary(false));
        assert.equal(refused(await vary(true)), "REQUEST_INVALID request_id");
      }
      assert.equal(authority.log.position().revision, head);
    }));
}

test("what a caller reports of its denial makes no other request", () =>
  withAuthority(async (authority) => {
    const first = granted(await authority.request(RITA, { ...PAIR, requestId: "same-same" }));
    const report = create(CallerReportSchema, { decisionId: "dec_1" });
    const again = granted(await authority.request(RITA, { ...PAIR, requestId: "same-same", report }));
    assert.equal(again.elevation.id, first.elevation.id);
  }));

test("a revocation of many that is repeated answers with what it revoked, though nothing of it is live", () =>
  withAuthority(async (authority) => {
    const ids = [await pending(authority, "1"), await pending(authority, "2")];
    const revoke = (requestId: string, who: string) =>
      authority.elevations.revoke(
        authority.caller(ADMIN),
        create(ElevationServiceRevokeRequestSchema, { requestId, target: { case: "principal", value: who } }),
      );
    granted(await revoke("revoke-all", RITA));
    const { elevations } = granted(await revoke("revoke-all", RITA));
    assert.deepEqual(elevations.map(({ id }) => id).toSorted(), ids.toSorted());
    const sams = granted(await authority.request(SAM, PAIR)).elevation.id;
    assert.equal(refused(await revoke("revoke-all", SAM)), "REQUEST_INVALID request_id");
    assert.equal((await authority.log.store.elevation(sams))?.state, ElevationState.PENDING);
  }));

test("a repeat whose first terms were erased is refused, since it cannot be told from another", () =>
  withAuthority(async (authority) => {
    const id = await active(authority);
    const message = create(ElevationServiceStartRequestSchema, { id, requestId: "start-it" });
    const extend = create(ElevationServiceExtendRequestSchema, { id, requestId: "extend-it", by: minutes(1) });
    granted(await authority.elevations.extend(authority.caller(RITA), extend));
    granted(await authority.elevations.start(authority.caller(RITA), message));
    const records = await authority.log.store.entries(0n, { elevation: id });
    const commitments = records.flatMap(({ entry }) => fromBinary(LogEntrySchema, entry).requestTerms?.commitment ?? []);
    await authority.log.write(async (tx) => {
      const value = create(OpeningsErasedSchema, { commitments });
      tx.append({ audience: "", actor: "", requestId: "", elevation: "", event: { case: "openingsErased", value } });
    });
    const again = await authority.elevations.extend(authority.caller(RITA), extend);
    assert.equal(refused(again), "REQUEST_INVALID request_id");
    assert.match(again.ok ? "" : again.denial.message, /erased/);
  }));
