// What goes wrong inside a guard, and what is thrown at it from outside: each call gets a clear answer, and the process lives.
import assert from "node:assert/strict";
import { connect as connectSocket } from "node:net";
import type { Clock } from "@brevet/protocol";
import { status } from "@grpc/grpc-js";
import type { TestClock } from "../clock/clock.ts";
import { assertRefusal, refusalOf, shownAnswer } from "./guard-answer.ts";
import { type GuardForm, guardScene, type ScenePromise, skewed } from "./guard-scene.ts";
import { type Headers, WireClient } from "./guard-wire.ts";
import { ALL_KINDS, methodOf, requestOf, SERVICE } from "./guard-world.ts";

type Promised = (title: string, body: () => Promise<void>) => void;

/** Each with a scene of its own: something in the guard is broken on purpose. */
export function faultConformance(promise: Promised, form: GuardForm): void {
  promise("whatever is thrown inside a guard is GUARD_FAULT on that call, and the process lives", async () => {
    const clock = new FaultyClocks();
    await using at = await guardScene(form, { clock: (inner) => clock.of(inner) });
    const { headers } = await at.elevated("Limited");
    for (const kind of ALL_KINDS) {
      const before = at.service.handled.length;
      clock.faults = 1;
      const answer = await at.client.call(methodOf("Limited", kind), headers, [requestOf(5)]);
      const refusal = refusalOf(answer);
      assert.deepEqual(
        [refusal.reason, refusal.code, refusal.pushback, refusal.trailersOnly],
        ["GUARD_FAULT", "INTERNAL", "-1", true],
        `${kind} ${shownAnswer(answer)}`,
      );
      assert.equal(at.service.handled.length, before, `${kind}: no handler ran`);
      assert.doesNotMatch(answer.message, /fell off/, "what broke is for the log only");
      clock.faults = Infinity;
      const last = await at.client.call(methodOf("Limited", kind), headers, [requestOf(5)]);
      clock.faults = 0;
      assert.deepEqual([last.code, last.trailersOnly], [status.INTERNAL, true], `${kind} ${shownAnswer(last)}`);
      assert.match(last.message, /^GUARD_FAULT: /, "where not even a refusal can be made");
      assert.equal(last.trailers["grpc-retry-pushback-ms"], "-1");
      assert.equal(at.service.handled.length, before, `${kind}: no handler ran`);
      assert.equal((await at.client.call(methodOf("Limited", kind), headers, [requestOf(5)])).code, status.OK, kind);
    }
    assert.ok(
      at.lines.some((line) => JSON.stringify(line).includes("the clock fell off the wall")),
      "the log says what broke",
    );
  });

  promise("what is thrown while a later message is judged ends that stream as GUARD_FAULT", async () => {
    const clock = new FaultyClocks();
    await using at = await guardScene(form, { clock: (inner) => clock.of(inner) });
    const { headers } = await at.elevated("Limited");
    const call = at.client.start(methodOf("Limited", "Chat"), headers);
    call.send(requestOf(1));
    assert.deepEqual(await call.next(), requestOf(1));
    clock.faults = 1;
    call.send(requestOf(2));
    const refusal = refusalOf(await call.ended);
    assert.deepEqual([refusal.reason, refusal.code, refusal.trailersOnly], ["GUARD_FAULT", "INTERNAL", false]);
    assert.deepEqual(at.service.callsOf(methodOf("Limited", "Chat")).at(-1)?.messages, [requestOf(1)]);
    assert.equal((await at.client.call(methodOf("Limited", "Chat"), headers, [requestOf(5)])).code, status.OK);
  });

  promise("a logger that throws, or rejects, changes no answer", async () => {
    const fails: readonly (() => unknown)[] = [
      () => {
        throw new Error("no disk");
      },
      () => Promise.reject(new Error("no disk")),
    ];
    for (const fail of fails) {
      await using at = await guardScene(form, { logger: { info: fail, warn: fail, error: fail } });
      const { headers } = await at.elevated("Plain");
      for (const kind of ALL_KINDS) {
        assert.equal(refusalOf(await at.client.call(methodOf("Plain", kind), at.as(at.person()))).reason, "ELEVATION_REQUIRED");
        assert.equal((await at.client.call(methodOf("Plain", kind), headers)).code, status.OK);
      }
    }
  });
}

export function limitConformance(promise: ScenePromise): void {
  promise("headers of 12 KiB pass, and ones of 200 KiB end no more than their own connection", async (at) => {
    const { headers } = await at.elevated("Plain");
    const large = "x".repeat(12 * 1024);
    for (const kind of ALL_KINDS) {
      const answer = await at.client.call(methodOf("Plain", kind), [...headers, ["x-large", large]]);
      assert.equal(answer.code, status.OK, `${kind} ${shownAnswer(answer)}`);
      assert.deepEqual(at.service.callsOf(methodOf("Plain", kind)).at(-1)?.metadata.get("x-large"), [large]);
    }
    const before = at.service.handled.length;
    for (const name of ["x-huge", "brevet-grant", "authorization"]) {
      using client = await WireClient.connect(at.form.address);
      const answer = await client.call(methodOf("Plain", "Unary"), [...headers, [name, "x".repeat(200 * 1024)]]);
      assert.notEqual(answer.code, status.OK, name);
    }
    assert.equal(at.service.handled.length, before);
    assert.equal((await at.client.call(methodOf("Plain", "Unary"), headers)).code, status.OK);
  });

  promise("grants of 12 KiB are malformed, and their refusal is small", async (at) => {
    const { headers } = await at.elevated("Shown");
    for (const grant of ["x".repeat(12 * 1024), "a.b.c,".repeat(2000)]) {
      const answer = await at.client.call(methodOf("Shown", "Unary"), [...headers, ["brevet-grant", grant]]);
      assert.equal(refusalOf(answer).reason, "GRANT_MALFORMED", shownAnswer(answer));
    }
  });

  promise("names and values that are no text harm nobody", async (at) => {
    const { headers } = await at.elevated("Plain");
    const before = at.service.handled.length;
    const odd: readonly Headers[] = [
      [["authorization", "Bearer \u00ff\u00fe.\u00ff.\u00ff"]],
      [["authorization", "Bearer \u0080"]],
      [["authorization", `Bearer ${"=".repeat(100)}`]],
    ];
    for (const each of odd)
      for (const kind of ALL_KINDS) {
        const answer = await at.client.call(methodOf("Plain", kind), each);
        assert.match(refusalOf(answer).reason, /^IDENTITY_(MALFORMED|MISSING)$/, `${kind} ${shownAnswer(answer)}`);
      }
    const grant = await at.client.call(methodOf("Shown", "Unary"), [...at.as(at.person()), ["brevet-grant", "\u00ff"]]);
    assert.match(refusalOf(grant).reason, /^(GRANT_MALFORMED|ELEVATION_REQUIRED)$/);
    assert.equal(at.service.handled.length, before);
    for (const value of ["\u00ff", "%00%ff", "\ud800"]) await at.client.call(methodOf("Plain", "Unary"), [...headers, ["x-odd", value]]);
    assert.equal((await at.client.call(methodOf("Plain", "Unary"), headers)).code, status.OK);
  });

  promise("paths that name no method reach no handler", async (at) => {
    const { headers } = await at.elevated("Plain");
    const before = at.service.handled.length;
    const method = methodOf("Plain", "Unary");
    for (const path of [
      `${method}/`,
      `${method}?x=1`,
      `${method}#`,
      `/${method}`,
      `x/../${method}`,
      method.replace("PlainUnary", "%50lainUnary"),
      method.replace("PlainUnary", "plainunary"),
      method.toUpperCase(),
      `${SERVICE}/`,
      SERVICE,
      "",
      `${SERVICE}/${"x".repeat(5000)}`,
      `${SERVICE}/\u00fc`,
    ]) {
      const answer = await at.client.call(path, headers);
      assert.notEqual(answer.code, status.OK, path);
    }
    assert.equal(at.service.handled.length, before);
    assert.equal((await at.client.call(method, headers)).code, status.OK);
  });

  promise("messages that are none, or too large, reach no handler of a conditioned method", async (at) => {
    const { headers } = await at.elevated("Limited");
    const before = at.service.handled.length;
    const frame = (bytes: readonly number[], more: Uint8Array = Buffer.alloc(0)): Buffer => Buffer.concat([Buffer.from(bytes), more]);
    for (const kind of ALL_KINDS)
      for (const [what, bytes] of Object.entries({
        "a length of 4 GiB": frame([0, 0xff, 0xff, 0xff, 0xff], Buffer.alloc(100)),
        "5 MiB": frame([0, 0, 0x50, 0, 0], Buffer.alloc(0x500000)),
        "half a message": frame([0, 0, 0, 0, 9, 8]),
        "half a header": frame([0, 0]),
      })) {
        using client = await WireClient.connect(at.form.address);
        const call = client.start(methodOf("Limited", kind), headers);
        call.sendBytes(bytes);
        call.halfClose();
        const answer = await call.ended;
        assert.notEqual(answer.code, status.OK, `${kind} ${what}: ${shownAnswer(answer)}`);
        assert.equal(at.service.handled.length, before, `${kind} ${what}: no handler ran`);
      }
    assert.equal((await at.client.call(methodOf("Limited", "Chat"), headers, [requestOf(1)])).code, status.OK);
  });

  promise("large messages that are allowed pass both ways", async (at) => {
    const { headers } = await at.elevated("Plain");
    const message = Buffer.alloc(3 * 1024 * 1024, "brevet");
    for (const kind of ALL_KINDS) {
      const answer = await at.client.call(methodOf("Plain", kind), headers, [message]);
      assert.equal(answer.code, status.OK, `${kind} ${shownAnswer(answer)}`);
      assert.ok(answer.messages.length === 1 && answer.messages[0]?.equals(message), kind);
    }
  });

  promise("a hundred calls at once each get their own verdict", async (at) => {
    const permitted = await at.elevated("Plain");
    const revoked = await at.elevated("Plain", { state: "REVOKED" });
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => {
        const { headers } = i % 2 === 0 ? permitted : revoked;
        return at.client.call(methodOf("Plain", ALL_KINDS[i % 4] ?? "Unary"), headers, [Buffer.from(`${i}`)]);
      }),
    );
    for (const [i, answer] of answers.entries()) {
      if (i % 2 === 1) assert.equal(refusalOf(answer).reason, "ELEVATION_REVOKED");
      else assert.deepEqual([answer.code, answer.messages], [status.OK, [Buffer.from(`${i}`)]]);
    }
  });

  promise("connections that break, or speak no HTTP/2, are nothing to the others", async (at) => {
    const { headers } = await at.elevated("Limited");
    const [host = "", port = ""] = at.form.address.split(":");
    for (const bytes of ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", "\x16\x03\x01\x02\0\x01"]) {
      const socket = connectSocket({ host, port: Number(port) });
      socket.on("error", () => {});
      await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
      socket.destroy();
    }
    for (const kind of ["Import", "Chat"] as const) {
      const client = await WireClient.connect(at.form.address);
      const call = client.start(methodOf("Limited", kind), headers);
      call.send(requestOf(1));
      await at.service.until(() => at.service.callsOf(methodOf("Limited", kind)).at(-1)?.messages.length === 1, "the first message");
      const handled = at.service.callsOf(methodOf("Limited", kind)).at(-1);
      client[Symbol.dispose]();
      await at.service.until(() => handled?.cancelled === true, "the handler to be told");
    }
    assertRefusal(
      await at.client.call(methodOf("Hidden", "Unary"), headers),
      {
        reason: "METHOD_FORBIDDEN",
        says: "the policy of conformance-test forbids {method}, or does not list it: check the name, or ask an admin. Run: brevet explain METHOD_FORBIDDEN",
      },
      "and the guard goes on",
    );
  });
}

/** Clocks that can be broken. */
class FaultyClocks {
  /** So many of the next readings fail. */
  faults = 0;

  of(inner: TestClock): Clock {
    const clock = skewed(inner);
    return {
      ...clock,
      monotonicMs: () => {
        if (this.faults > 0) {
          this.faults -= 1;
          throw new Error("the clock fell off the wall");
        }
        return clock.monotonicMs();
      },
    };
  }
}
