// What the command line makes of failures: an answer that is no, or no answer at all.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorInfoSchema } from "@brevet/protocol/google/rpc/error_details";
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
