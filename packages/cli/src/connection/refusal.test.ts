// What the command line makes of failures: an answer that is no, or no answer at all.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReasonName } from "@brevet/protocol";
import { BadRequestSchema, ErrorInfoSchema } from "@brevet/protocol/google/rpc/error_details";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { exitStatus } from "../output/status.ts";
import { commandError } from "./refusal.ts";

test("an authority that goes away in the middle of a call could not be reached; a refusal with the same code is an answer", () => {
  for (const code of [Code.Unavailable, Code.Canceled, Code.Aborted]) {
    const { status, reason } = commandError(new ConnectError("http/2 stream closed", code), "http://127.0.0.1:7400");
    assert.deepEqual([status, reason], [exitStatus.unreachable, "AUTHORITY_UNREACHABLE"]);
  }
  const changed = new ConnectError("REVISION_CHANGED: look again", Code.Aborted);
  changed.details.push({ desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason: "REVISION_CHANGED", domain: "brevet.dev" }) });
  const { status, reason } = commandError(changed, "http://127.0.0.1:7400");
  assert.deepEqual([status, reason], [exitStatus.no, "REVISION_CHANGED"]);
});

function refused(reason: ReasonName, message: string, metadata: Record<string, string> = {}, fields: Record<string, string> = {}) {
  const error = new ConnectError(message, Code.InvalidArgument);
  error.details.push({ desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason, domain: "brevet.dev", metadata }) });
  const fieldViolations = Object.entries(fields).map(([field, description]) => ({ field, description }));
  if (fieldViolations.length > 0) error.details.push({ desc: BadRequestSchema, value: create(BadRequestSchema, { fieldViolations }) });
  return commandError(error, "http://127.0.0.1:7400");
}

test("who has not said who they are reads the command line's own ways to say it", () => {
  const hints = refused("IDENTITY_MISSING", "IDENTITY_MISSING: send `authorization: Bearer <token>`, made for the authority").hints.join(
    "\n",
  );
  for (const way of ["--token-file", "BREVET_TOKEN_FILE", "--as"]) assert.ok(hints.includes(way), hints);
  assert.doesNotMatch(hints, /authorization: Bearer/);
});

test("a remedy that names metadata says its value too, and the commands in it can be run as they stand", () => {
  const hint = (reason: ReasonName, metadata: Record<string, string>) => refused(reason, `${reason}: no`, metadata).hints.join("\n");
  assert.match(hint("DURATION_TOO_LONG", { maxSeconds: "5400", method: "payments.v1.Ledger/Refund" }), /`maxSeconds` \(1h 30m\)/);
  assert.match(
    hint("DURATION_TOO_LONG", { maxSeconds: "60", method: "payments.v1.Ledger/Refund" }),
    /brevet request payments.v1.Ledger\/Refund/,
  );
  assert.match(hint("ROLE_REQUIRED", { role: "auditor" }), /`role` \(auditor\)/);
  assert.match(hint("OUTSIDE_SCHEDULE", { opensAt: "2027-01-31T18:00:00Z" }), /`opensAt` \(2027-01-31T18:00:00Z\)/);
  assert.match(hint("IDENTITY_AUDIENCE_MISMATCH", { expectedAudience: "brevet" }), /`expectedAudience` \(brevet\)/);
  assert.match(hint("NOT_AN_APPROVER", { elevation: "elv_1" }), /brevet show elv_1/);
  assert.match(hint("ROLE_REQUIRED", {}), /`role`/);
});

test("what is wrong with a field is said once", () => {
  const { message, hints } = refused("REQUEST_INVALID", "reason: is too long", { field: "reason" }, { reason: "is too long" });
  assert.equal(message, "REQUEST_INVALID: reason: is too long");
  assert.deepEqual(hints, []);
  const other = refused("REQUEST_INVALID", "two fields are wrong", {}, { reason: "is too long", run: "is empty" });
  assert.deepEqual(other.hints, ["reason: is too long", "run: is empty"]);
});
