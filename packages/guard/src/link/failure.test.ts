import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { failureOf, identityFailure } from "./failure.ts";

const AUTHORITY = "http://127.0.0.1:7400";

test("the fix fits the cause where the guard's own identity could not be had", () => {
  const away = Object.assign(new Error("AUTHORITY_UNREACHABLE: no answer."), { reason: "AUTHORITY_UNREACHABLE" });
  const unreachable = failureOf(identityFailure(away), AUTHORITY);
  assert.match(unreachable.cause, /own identity could not be had: AUTHORITY_UNREACHABLE: no answer/);
  assert.match(unreachable.fix, /start the authority/);
  assert.equal(unreachable.code, Code.Unavailable);

  const unread = failureOf(identityFailure(new Error("no such file: /var/run/token")), AUTHORITY);
  assert.match(unread.fix, /token file/);
  assert.doesNotMatch(unread.fix, /audience/);

  assert.match(failureOf(new ConnectError("who are you?", Code.Unauthenticated), AUTHORITY).fix, /audience is the authority's/);
});

test("a cause is put before its fix: no full stop ends it", () => {
  assert.equal(failureOf(new ConnectError("it went away.", Code.Unavailable), AUTHORITY).cause, "it went away");
});
