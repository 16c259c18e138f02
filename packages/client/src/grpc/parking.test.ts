import assert from "node:assert/strict";
import { test } from "node:test";
import { TestClock } from "@brevet/testing";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Metadata, status } from "@grpc/grpc-js";
import { AUDIENCE, call, required, Scene, until } from "../testdata/scene.ts";
import { elevate } from "./grpc.ts";

test("where a grant is demanded, later calls show it at once, and nobody is asked again", async () => {
  await using scene = await Scene.open();
  const client = scene.client();
  scene.rule = ({ method, elevations }) => (elevations.length > 0 ? undefined : required({ method, metadata: { present: "grant" } }));
  const first = call(client, "Payout");
  const { elevation } = await scene.event("waiting");
  await scene.approve(elevation);
  assert.equal((await first.answer).code, status.OK);
  assert.equal((await call(client, "Payout").answer).code, status.OK);
  assert.deepEqual(
    scene.seen.map(({ elevations }) => elevations),
    [[], [elevation], [elevation]],
  );
  // Only that elevation's methods show it.
  scene.rule = () => undefined;
  await call(client, "Refund").answer;
  assert.deepEqual(scene.seen.at(-1)?.elevations, []);
});

test("an elevation whose identity is enough is not shown on later calls, unless the program wants that", async () => {
  for (const present of ["identity", "grant"] as const) {
    await using scene = await Scene.open();
    const client = scene.client({ present });
    const first = call(client);
    await scene.approve((await scene.event("waiting")).elevation);
    await first.answer;
    scene.rule = () => undefined;
    await call(client).answer;
    assert.equal(scene.seen.at(-1)?.elevations.length, present === "grant" ? 1 : 0, present);
  }
});

test("a stale grant is renewed, and the call issued again, without a person", async () => {
  await using scene = await Scene.open();
  const client = scene.client({ present: "grant" });
  const first = call(client);
  const { elevation } = await scene.event("waiting");
  await scene.approve(elevation);
  await first.answer;
  const shown = () => String(scene.seen.at(-1)?.metadata["brevet-grant"]);
  const stale = shown();
  scene.rule = ({ metadata }) =>
    metadata["brevet-grant"] === stale ? required({ reason: "GRANT_EXPIRED", metadata: { elevation } }) : undefined;
  assert.equal((await call(client).answer).code, status.OK);
  assert.notEqual(shown(), stale);
  assert.deepEqual(scene.seen.at(-1)?.elevations, [elevation]);
  assert.equal((await scene.mine()).length, 1);
});

test("a service that makes up a refusal for another method or audience makes nobody ask for anything", async () => {
  await using scene = await Scene.open();
  const client = scene.client();
  const made = [
    required({ named: "test.v1.Ledger/Payout" }),
    required({ audience: "payroll-prod" }),
    required({ metadata: { audience: "payroll-prod" } }),
    required({ metadata: { method: "test.v1.Ledger/Payout" } }),
    { ...required(), metadata: { decisionId: "dec_1" } },
    { ...required(), code: status.UNAVAILABLE },
  ];
  for (const denial of made) {
    scene.rule = () => denial;
    const answer = await call(client).answer;
    assert.deepEqual([answer.status.reason, answer.status.metadata.decisionId], ["ELEVATION_REQUIRED", "dec_1"]);
  }
  assert.equal(scene.seen.length, made.length);
  assert.deepEqual(await scene.mine(), []);
  assert.ok(!scene.audiences.includes("brevet"), "the authority was not even called");
});

test("a service cannot get at a grant of an elevation that it names", async () => {
  await using scene = await Scene.open();
  const client = scene.client();
  const payout = call(client, "Payout");
  const { elevation } = await scene.event("waiting");
  await scene.approve(elevation);
  await payout.answer;
  scene.rule = () => required({ reason: "GRANT_EXPIRED", metadata: { elevation } });
  assert.equal((await call(client).answer).status.reason, "GRANT_EXPIRED");
  // Nor does a call join an elevation for another method.
  scene.rule = ({ elevations }) => (elevations.length > 0 ? undefined : required({ reason: "ELEVATION_PENDING", metadata: { elevation } }));
  const joining = call(client);
  const own = await until(async () => (await scene.mine()).find(({ id }) => id !== elevation));
  await scene.approve(own.id);
  assert.equal((await joining.answer).code, status.OK);
  assert.deepEqual(
    scene.seen.filter(({ method }) => method === "Refund").map(({ elevations }) => elevations),
    [[], [], [], [own.id]],
  );
});

test("an end that the guard has reached and the authority has not is waited out, and asked anew", async () => {
  await using scene = await Scene.open();
  const client = scene.client({ for: "2s", choose: () => "refund" });
  const first = call(client);
  const { elevation } = await scene.event("waiting");
  scene.rule = () => undefined;
  await scene.approve(elevation);
  await first.answer;
  const endMs = timestampMs((await scene.mine())[0]?.windowEnd ?? timestampFromMs(0));
  // A guard that may err by 800 ms judges an end by so much earlier.
  scene.rule = () => {
    if (Date.now() + 800 < endMs) return undefined;
    const times = { serverTime: new Date().toISOString(), expiredAt: new Date(endMs).toISOString() };
    return required({ reason: "ELEVATION_EXPIRED", metadata: { elevation, ...times } });
  };
  await until(() => Date.now() + 800 >= endMs);
  const from = scene.events.length;
  const late = call(client);
  const next = await Promise.race([scene.event("waiting", from), late.answer]);
  assert.ok("elevation" in next, "it asks for another");
  scene.rule = () => undefined;
  await scene.approve(next.elevation);
  assert.equal((await late.answer).code, status.OK);
  assert.deepEqual(
    scene.events.slice(from).map(({ kind }) => kind),
    ["asked", "waiting", "approved", "running", "window"],
  );
  assert.equal((await scene.mine()).length, 2);
});

test("a refusal that comes after response headers is never answered by another call", async () => {
  await using scene = await Scene.open();
  scene.headersFirst = true;
  assert.equal((await call(scene.client()).answer).status.reason, "ELEVATION_REQUIRED");
  assert.equal(scene.seen.length, 1);
  assert.deepEqual(await scene.mine(), []);
});

test("a refusal that asking cannot help is passed on", async () => {
  await using scene = await Scene.open();
  const client = scene.client();
  for (const reason of ["ELEVATION_REVOKED", "ELEVATION_DENIED", "METHOD_FORBIDDEN", "CONDITION_NOT_MET", "GRANT_EXPIRED"] as const) {
    scene.rule = () => required({ reason });
    assert.equal((await call(client).answer).status.reason, reason);
  }
  assert.equal(scene.seen.length, 5);
  assert.deepEqual(await scene.mine(), []);
});

test("a reason that is wanted and missing fails at once, and says what to set", async () => {
  await using scene = await Scene.open();
  scene.rule = () => required({ offers: [{ entitlement: "refund", approvals: 1, reasonRequired: true, reasonPattern: "^[A-Z]+-[0-9]+" }] });
  const answer = await call(scene.client()).answer;
  assert.deepEqual([answer.code, answer.status.reason], [status.INVALID_ARGUMENT, "REASON_REQUIRED"]);
  assert.match(
    answer.message,
    /refund for test\.v1\.Ledger\/Refund wants a reason that matches \^\[A-Z\]\+-\[0-9\]\+.*`reason` of elevate\(\).*--reason/,
  );
  assert.deepEqual(await scene.mine(), []);
});

test("the fewest approvals are asked for, the program may choose otherwise, and the glass is never broken unasked", async () => {
  await using scene = await Scene.open();
  const glass = { entitlement: "glass", approvals: 0, breakGlass: true };
  scene.rule = () => required({ offers: [glass] });
  assert.equal((await call(scene.client()).answer).status.reason, "ELEVATION_REQUIRED");
  assert.deepEqual(await scene.mine(), []);
  const offers = [glass, { entitlement: "refund", approvals: 1 }];
  scene.rule = ({ elevations }) => (elevations.length > 0 ? undefined : required({ offers }));
  assert.equal((await call(scene.client({ choose: () => undefined })).answer).status.reason, "ELEVATION_REQUIRED");
  assert.equal((await call(scene.client({ choose: ([first]) => first?.entitlement })).answer).code, status.OK);
  assert.deepEqual(
    (await scene.mine()).map(({ entitlement, breakGlass }) => [entitlement, breakGlass]),
    [["glass", true]],
  );
  const made = call(scene.client());
  const waiting = await scene.event("waiting");
  assert.equal(waiting.entitlement, "refund");
  made.cancel();
  await made.answer;
});

test("what the authority refuses to be asked for is said with its reason", async () => {
  await using scene = await Scene.open();
  const answer = await call(scene.client({ for: "3h" })).answer;
  assert.deepEqual([answer.code, answer.status.reason], [status.INVALID_ARGUMENT, "DURATION_TOO_LONG"]);
  assert.match(answer.message, /asking for test\.v1\.Ledger\/Refund: .*at most 20m.*\(decision dec_1\)/);
  const stranger = await scene.authority.token("user:eve@test");
  const refused = await call(scene.client({ identity: () => stranger })).answer;
  assert.deepEqual([refused.code, refused.status.reason], [status.PERMISSION_DENIED, "NOT_ELIGIBLE"]);
});

test("in a chain only the outermost client parks", async () => {
  await using scene = await Scene.open();
  const inner = scene.client();
  scene.relay = (parent) => call(inner, "Refund", "1", { parent }).answer;
  const answer = await call(scene.plainClient(), "Relay").answer;
  assert.equal(answer.response, "ELEVATION_REQUIRED");
  assert.deepEqual(await scene.mine(), []);
});

test("a call that is cancelled while the program finds its reason asks nobody", async () => {
  await using scene = await Scene.open();
  let cancel = (): void => {};
  const cancelling = call(
    scene.client({
      reason: () => {
        cancel();
        return "cancelled";
      },
    }),
  );
  ({ cancel } = cancelling);
  assert.equal((await cancelling.answer).code, status.CANCELLED);
  // Whatever had been asked on the same connection would have been asked before this.
  const wanted = call(scene.client({ reason: "wanted" }));
  await scene.event("waiting");
  assert.deepEqual(
    (await scene.mine()).map(({ reason }) => reason?.text),
    ["wanted"],
  );
  wanted.cancel();
  await wanted.answer;
});

test("ending elevate() ends its waits, and later refusals are passed on", async () => {
  await using scene = await Scene.open();
  const closing = new AbortController();
  const client = scene.client({ signal: closing.signal });
  const made = call(client);
  await scene.event("waiting");
  closing.abort(new Error("shutting down"));
  const answer = await made.answer;
  assert.deepEqual([answer.code, /shutting down/.test(answer.message)], [status.CANCELLED, true]);
  assert.equal((await call(client).answer).status.reason, "ELEVATION_REQUIRED");
});

test("each refusal is logged once, with its decision id and the trace that it belongs to", async () => {
  await using scene = await Scene.open();
  scene.rule = () => required({ reason: "NOT_ELIGIBLE" });
  const metadata = new Metadata();
  const traceparent = `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`;
  metadata.set("traceparent", traceparent);
  await call(scene.client(), "Refund", "1", {}, metadata).answer;
  const [line, ...others] = scene.lines;
  assert.deepEqual(others, []);
  assert.deepEqual([line?.fields.decisionId, line?.fields.reason, line?.fields.traceId], ["dec_1", "NOT_ELIGIBLE", "ab".repeat(16)]);
  assert.deepEqual(line?.fields.headersSent, ["authorization", "traceparent"]);
  assert.ok(!JSON.stringify(scene.lines).includes("Bearer"));
});

test("the program's metadata is left as it is, and an identity that it sets itself counts", async () => {
  await using scene = await Scene.open();
  scene.rule = () => undefined;
  const metadata = new Metadata();
  metadata.set("x-tenant", "7");
  await call(scene.client(), "Refund", "1", {}, metadata).answer;
  assert.deepEqual(metadata.getMap(), { "x-tenant": "7" });
  assert.equal(scene.seen[0]?.metadata["x-tenant"], "7");
  metadata.set("authorization", "Bearer own");
  await call(scene.client(), "Refund", "1", {}, metadata).answer;
  assert.equal(scene.seen[1]?.metadata.authorization, "Bearer own");
});

test("without a token the call is not made, and says whose fault it is", async () => {
  await using scene = await Scene.open();
  const sources = [
    () => {
      throw new Error("the vault is sealed");
    },
    () => Promise.reject(new Error("the vault is sealed")),
    () => "",
  ];
  for (const identity of sources) {
    const answer = await call(scene.client({ identity })).answer;
    assert.deepEqual([answer.code, answer.status.reason], [status.UNAUTHENTICATED, "IDENTITY_MISSING"]);
    assert.match(answer.message, new RegExp(`no identity token for ${AUDIENCE}: (the vault is sealed|it gave no token)`));
  }
  assert.equal(scene.seen.length, 0);
});

test("a token that never comes ends with the deadline, or when the call is cancelled", async () => {
  await using scene = await Scene.open();
  const client = scene.client({ identity: () => new Promise<string>(() => {}) });
  const late = await call(client, "Refund", "1", { deadline: Date.now() + 50 }).answer;
  assert.equal(late.code, status.DEADLINE_EXCEEDED);
  assert.match(late.message, /waiting for an identity token/);
  const made = call(client);
  made.cancel();
  assert.equal((await made.answer).code, status.CANCELLED);
  assert.equal(scene.seen.length, 0);
});

test("a token that never comes after the approval ends the call, and the end of all waits does so at once", async () => {
  for (const closes of [false, true]) {
    await using scene = await Scene.open();
    const closing = new AbortController();
    let given = 0;
    const fetching = Promise.withResolvers<void>();
    const identity = (audience: string): string | Promise<string> => {
      if (audience === "brevet" || given++ === 0) return scene.identity(audience);
      fetching.resolve();
      return new Promise<string>(() => {});
    };
    const clock = new TestClock();
    const made = call(scene.client({ identity, clock, wait: "30s", signal: closing.signal }));
    await scene.approve((await scene.event("waiting")).elevation);
    // The window was started, so that the call would go on at once.
    await scene.event("approved");
    await fetching.promise;
    if (closes) closing.abort(new Error("shutting down"));
    else await clock.advanceSlowly(31_000, 1000);
    const { code, status: read, message } = await made.answer;
    if (closes) assert.deepEqual([code, /shutting down/.test(message)], [status.CANCELLED, true]);
    else assert.deepEqual([code, read.reason, /it gave none in 30s/.test(message)], [status.UNAUTHENTICATED, "IDENTITY_MISSING", true]);
    assert.equal(scene.seen.length, 1);
  }
});

test("a token for the authority that never comes ends the call, whichever step of its story wants it", async () => {
  for (const step of ["asking", "the grant"] as const) {
    await using scene = await Scene.open();
    let hangs = step === "asking";
    const fetching = Promise.withResolvers<void>();
    const identity = (audience: string): string | Promise<string> => {
      if (audience !== "brevet" || !hangs) return scene.identity(audience);
      fetching.resolve();
      return new Promise<string>(() => {});
    };
    const clock = new TestClock();
    const made = call(scene.client({ identity, clock, wait: "1m", present: "grant" }));
    if (step === "the grant") {
      const { elevation } = await scene.event("waiting");
      hangs = true;
      await scene.approve(elevation);
    }
    await fetching.promise;
    await clock.advanceSlowly(9000, 1000);
    const { code, status: read, message } = await made.answer;
    assert.deepEqual([code, read.reason], [status.UNAUTHENTICATED, "IDENTITY_MISSING"], `${step}: ${message}`);
    assert.match(message, /no identity token for brevet: it gave none in 8s/);
  }
});

test("a program's function that throws ends its call with what it said", async () => {
  await using scene = await Scene.open();
  const reason = (): string => {
    throw new Error("no ticket");
  };
  const answer = await call(scene.client({ reason })).answer;
  assert.equal(answer.code, status.INTERNAL);
  assert.match(answer.message, /elevate\(\) for test\.v1\.Ledger\/Refund: no ticket/);
  const onProgress = () => {
    throw new Error("the terminal is gone");
  };
  const made = call(scene.client({ onProgress }));
  const asked = await until(async () => (await scene.mine())[0]);
  await scene.approve(asked.id);
  assert.equal((await made.answer).code, status.OK);
});

test("a program's function that rejects later does not end the program", async () => {
  await using scene = await Scene.open();
  // An unhandled rejection would fail the test here. Types do not keep such functions out: `void` takes them, and JavaScript anything.
  const rejects = (text: string) => (() => Promise.reject(new Error(text))) as () => never;
  const made = call(scene.client({ onProgress: rejects("the terminal is gone") }));
  const asked = await until(async () => (await scene.mine())[0]);
  await scene.approve(asked.id);
  assert.equal((await made.answer).code, status.OK);
  const told = scene.lines.filter(({ message }) => message === "brevet: onProgress threw");
  assert.equal(told.length, 5, "asked, waiting, approved, running, window");
  assert.match(String(told[0]?.fields.err), /the terminal is gone/);
  for (const option of ["reason", "choose"] as const) {
    scene.rule = () => required();
    const answer = await call(scene.client({ [option]: rejects("no ticket") })).answer;
    assert.equal(answer.code, status.INTERNAL);
    assert.match(answer.message, new RegExp(`${option}: gave a promise; it has to answer at once`));
  }
});

test("options that could not work are refused when the client is made", () => {
  const good = { authority: "https://brevet.test:7400", audience: AUDIENCE, identity: () => "token" };
  elevate(good);
  elevate({ ...good, authority: "http://127.0.0.1:7400" });
  elevate({ ...good, authority: "http://[::1]:7400" });
  const wrong: [Partial<Parameters<typeof elevate>[0]>, RegExp][] = [
    [{ authority: "http://brevet.test:7400" }, /plaintext/],
    [{ authority: "http://127.0.0.1.evil.test" }, /plaintext/],
    [{ authority: "brevet.test:7400" }, /not a URL/],
    [{ authority: "https://brevet.test/path" }, /not a URL/],
    [{ audience: "brevet" }, /authority's own/],
    [{ audience: "" }, /audience/],
    [{ wait: "soon" }, /wait: "soon" is not a duration/],
    [{ for: "-1m" }, /for: "-1m" is not a duration/],
    [{ buffer: { messages: -1 } }, /buffer\.messages: -1 is no whole number/],
    [{ buffer: { bytes: 0.5 } }, /buffer\.bytes: 0\.5 is no whole number/],
    [{ buffer: { bytes: Number.POSITIVE_INFINITY } }, /buffer\.bytes: Infinity/],
  ];
  for (const [options, pattern] of wrong) assert.throws(() => elevate({ ...good, ...options }), { name: "TypeError", message: pattern });
});
