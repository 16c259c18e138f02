// What people read of an elevation: what it waits for, who else will be asked, what is overdue, who holds it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationSchema, ElevationState, VoteKind } from "@brevet/protocol/brevet/v1/elevation";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { elevationText, situation } from "./elevation.ts";

const NOW = Date.UTC(2026, 0, 5, 12);
const MINUTE = 60_000;
const at = (minutes: number) => timestampFromMs(NOW + minutes * MINUTE);
const of = (init: MessageInitShape<typeof ElevationSchema>) => create(ElevationSchema, init);
const oncall = { approvers: [{ text: "group:oncall" }], quorum: 1 };

test("one that waits says from whom, until when, and when others are asked too", () => {
  const pending = { state: ElevationState.PENDING, pendingUntil: at(30) };
  assert.equal(
    situation(of({ ...pending, stages: [{ ...oncall, escalateTime: at(5) }] }), NOW),
    "0 of 1 approvals, from group:oncall; others are asked in 5m; lapses in 30m",
  );
  const escalated = of({ ...pending, stages: [{ ...oncall, escalatedTo: [{ text: "group:leads" }] }] });
  assert.equal(situation(escalated, NOW), "0 of 1 approvals, from group:oncall, group:leads; lapses in 30m");
  assert.match(elevationText(escalated, NOW), /approval +0 of 1 by group:oncall; nobody answered in time, so group:leads too/);
  const later = of({ ...pending, stages: [oncall], startTime: at(60) });
  assert.match(situation(later, NOW), /lapses in 30m; to start at 2026-01-05T13:00:00.000Z/);
});

test("an extension that waits is told beside the end that counts until then, and its votes are told apart", () => {
  const text = elevationText(
    of({
      state: ElevationState.ACTIVE,
      windowStart: at(-5),
      windowEnd: at(5),
      extensionEnd: at(20),
      stages: [oncall],
      votes: [
        { kind: VoteKind.APPROVE, voter: { name: "user:ana@test" }, time: at(-5), narrowedDuration: durationFromMs(10 * MINUTE) },
        { kind: VoteKind.DENY, voter: { name: "user:bo@test" }, time: at(-1), extension: true, comment: { text: "no" } },
      ],
    }),
    NOW,
  );
  assert.match(text, /ends in 5m; to go on until 2026-01-05T12:20:00.000Z it has 0 of 1 approvals, from group:oncall/);
  assert.match(text, /approved +user:ana@test, .*\(5m ago\), for 10m/);
  assert.match(text, /denied +user:bo@test, .*\(1m ago\), the extension: “no”/);
});

test("a break-glass use shows who is told and by when it is to be reviewed, also when that is over, until somebody did", () => {
  const glass = {
    state: ElevationState.EXPIRED,
    endTime: at(-10),
    breakGlass: true,
    notified: [{ text: "group:security" }],
    reviewBy: at(60),
  };
  assert.equal(situation(of(glass), NOW), "10m ago; to be reviewed in 1h");
  assert.match(elevationText(of(glass), NOW), /told +group:security/);
  const overdue = of({ ...glass, reviewBy: at(-1) });
  assert.equal(situation(overdue, NOW), "10m ago; its review is OVERDUE since 2026-01-05T11:59:00.000Z");
  assert.match(elevationText(overdue, NOW), /review +OVERDUE since .*\(1m ago\)/);
  const reviewed = of({ ...glass, reviewTime: at(-2), reviewedBy: { name: "user:sol@test" }, reviewComment: { text: "as agreed" } });
  assert.equal(situation(reviewed, NOW), "10m ago");
  assert.match(elevationText(reviewed, NOW), /review +user:sol@test, .*\(2m ago\): “as agreed”/);
});

test("a lapse says what did not happen in time", () => {
  const lapsed = { state: ElevationState.LAPSED };
  assert.equal(situation(of(lapsed), NOW), "nobody decided in time");
  assert.equal(situation(of({ ...lapsed, startBy: at(0) }), NOW), "nobody used it in time");
  assert.equal(situation(of({ ...lapsed, startBy: at(0), startTime: at(0) }), NOW), "its time came outside the schedule");
});

test("several holders are shown while it is open", () => {
  const held = { state: ElevationState.ACTIVE, windowEnd: at(5), holds: 3 };
  assert.match(elevationText(of(held), NOW), /held +by 3 callers/);
  assert.doesNotMatch(elevationText(of({ ...held, state: ElevationState.ENDED }), NOW), /held/);
});
