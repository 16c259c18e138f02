// The demo is the README's promise: it plays to its end without a person, in under a minute, and leaves nothing running.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Stage } from "../../packages/cli/src/demo/stage.ts";
import { told } from "../scene.ts";

test("the demo plays the whole story without a person", { timeout: 180_000 }, async () => {
  await using stage = new Stage({});
  const played = await stage.brevet(["demo", "--auto"]);
  assert.equal(played.status, 0, told(played));
  const story = played.stdout;
  let at = 0;
  const moments = [
    /ELEVATION_REQUIRED: /,
    /ELEVATION_DENIED: .*not without the customer's letter/,
    /elv_[0-9A-Z]{26}/,
    /the authority is killed/,
    /is ACTIVE/,
    /The parked call went on by itself and ran/,
    /ELEVATION_EXPIRED: /,
    /drains open streams[\s\S]*ELEVATION_EXPIRED: /,
    /A revocation ends an open stream[\s\S]*(ELEVATION_REVOKED: [\s\S]*: enforced|: enforced[\s\S]*ELEVATION_REVOKED: )/,
    /goes on with what it kept[\s\S]*ENTRY_KIND_REFUND/,
    /two hours ahead[\s\S]*ENTRY_KIND_REFUND/,
    /sidecar proxy[\s\S]*ELEVATION_EXPIRED: /,
    /The log verifies: \d+ entries/,
  ];
  for (const moment of moments) {
    const found = story.slice(at).search(moment);
    assert.notEqual(found, -1, `${moment} is told in its turn:\n${story}`);
    at += found;
  }
  const decision = /decision (dec_[0-9A-Z]{26})/.exec(story)?.[1] ?? "none";
  assert.match(story, new RegExp(`guard\\s+\\| .*${decision}`), "the guard's line has the decision of the caller's error");
});

test("the demo goes on when the person says no", { timeout: 180_000 }, async () => {
  await using stage = new Stage({});
  let approver: Promise<unknown> | undefined;
  const played = await stage.brevet(["demo"], (line) => {
    // Without a terminal the story says what to run in another one.
    const [, url, code, id] = /BREVET_AUTHORITY=(\S+) BREVET_DEV_CODE=(\S+) npx brevet approve (\S+)/.exec(line) ?? [];
    if (url === undefined || code === undefined || id === undefined) return;
    stage.setEnvironment({ BREVET_AUTHORITY: url, BREVET_DEV_CODE: code });
    approver = stage.brevet(["deny", id, "--comment", "not this customer", "--as", "user:ana@acme.test"]);
  });
  await approver;
  assert.equal(played.status, 0, told(played));
  assert.match(
    played.stdout,
    /ELEVATION_DENIED: .*not this customer[\s\S]*ended with the approver's words[\s\S]*The log verifies: \d+ entries/,
  );
});
