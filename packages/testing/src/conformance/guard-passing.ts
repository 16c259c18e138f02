// What goes through a guard goes through unchanged, both ways; only `brevet-*` metadata is taken off on the way in.
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { codeName, STATUS_DETAILS_TRAILER, WINDOW_ENDS_TRAILER } from "@brevet/protocol";
import { Metadata, status } from "@grpc/grpc-js";
import { shownAnswer } from "./guard-answer.ts";
import type { ScenePromise } from "./guard-scene.ts";
import { echo, type HandledCall } from "./guard-service.ts";
import { ALL_KINDS, KINDS, methodOf, requestOf } from "./guard-world.ts";

const RAW = Buffer.from([0, 1, 0x2c, 0x80, 0xfe, 0xff]);
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

export function passingConformance(promise: ScenePromise): void {
  promise("handlers see no brevet metadata, and all of the rest as it was sent", async (at) => {
    const { headers } = await at.elevated("Plain");
    const sent = [
      ...headers,
      ["brevet-grant", "junk"],
      ["brevet-window-ends", "1"],
      ["brevet-other-bin", base64(RAW)],
      ["x-mine", "a"],
      ["x-mine", "b"],
      ["x-empty", ""],
      ["x-raw-bin", base64(RAW)],
      ["x-raw-bin", base64(Buffer.from("second"))],
      ["traceparent", `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`],
    ] as const;
    for (const kind of ALL_KINDS) {
      const answer = await at.client.call(methodOf("Plain", kind), sent);
      assert.equal(answer.code, status.OK, shownAnswer(answer));
      const metadata = at.service.callsOf(methodOf("Plain", kind)).at(-1)?.metadata ?? new Metadata();
      assert.deepEqual(
        Object.keys(metadata.getMap()).filter((name) => name.startsWith("brevet-")),
        [],
      );
      assert.deepEqual(metadata.get("authorization"), [headers[0]?.[1]]);
      assert.deepEqual(metadata.get("x-mine").join(", "), "a, b");
      assert.deepEqual(metadata.get("x-empty"), [""]);
      assert.deepEqual(metadata.get("x-raw-bin"), [RAW, Buffer.from("second")]);
      assert.deepEqual(metadata.get("traceparent"), [`00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`]);
    }
  });

  promise("what a handler answers comes back as it was sent: metadata, messages, trailers", async (at) => {
    const { headers } = await at.elevated("Plain");
    await at.service.during(
      async (call) => {
        const initial = new Metadata();
        initial.add("x-initial", "1");
        initial.add("x-initial", "2");
        initial.add("x-initial-bin", RAW);
        call.sendMetadata(initial);
        await untilHalfClosed(call);
        call.write(Buffer.alloc(0));
        call.write(RAW);
        const trailers = new Metadata();
        trailers.add("x-final", "end");
        trailers.add("x-final-bin", RAW);
        call.end({ metadata: trailers });
      },
      async () => {
        for (const kind of ALL_KINDS) {
          const call = at.client.start(methodOf("Plain", kind), headers);
          // Initial metadata is not kept back until the end.
          if (KINDS[kind][0]) assert.equal((await call.responded())["x-initial"], "1, 2");
          call.send(Buffer.from("x"));
          call.halfClose();
          const answer = await call.ended;
          assert.equal(answer.code, status.OK, shownAnswer(answer));
          assert.equal(answer.headers["x-initial"], "1, 2", kind);
          assert.equal(unpadded(answer.headers["x-initial-bin"]), base64(RAW), kind);
          assert.equal(answer.trailers["x-final"], "end", kind);
          assert.equal(unpadded(answer.trailers["x-final-bin"]), base64(RAW), kind);
          assert.deepEqual(answer.messages, KINDS[kind][1] ? [Buffer.alloc(0), RAW] : [RAW], kind);
        }
      },
    );
  });

  promise("what a guard alone may say, no handler says", async (at) => {
    const { headers } = await at.elevated("Plain", { endsInMs: 60_500 });
    for (const code of [status.OK, status.NOT_FOUND])
      await at.service.during(
        async (call) => {
          await untilHalfClosed(call);
          const forged = new Metadata();
          forged.set(WINDOW_ENDS_TRAILER, "99999");
          forged.set("brevet-other", "1");
          forged.set("x-mine", "kept");
          if (code === status.OK) call.sendMetadata(forged.clone());
          call.end({ code, details: "forged", metadata: forged });
        },
        async () => {
          for (const [group, ends] of [
            ["Plain", "60"],
            ["Open", undefined],
          ] as const)
            for (const kind of ALL_KINDS) {
              const { trailers, headers: initial, code: came } = await at.client.call(methodOf(group, kind), headers);
              const names = [trailers, initial].flatMap((each) => Object.keys(each)).filter((name) => name.startsWith("brevet-"));
              assert.deepEqual([came, trailers["x-mine"], trailers[WINDOW_ENDS_TRAILER]], [code, "kept", ends], `${group} ${kind}`);
              assert.deepEqual(names, ends === undefined ? [] : [WINDOW_ENDS_TRAILER], `${group} ${kind}`);
            }
        },
      );
  });

  promise("a status of the handler's own comes back with its message and details, whatever its code", async (at) => {
    const { headers } = await at.elevated("Plain");
    const details = Buffer.from("\x08\x09\x12\x04mine");
    let code: number;
    const script = async (call: HandledCall) => {
      await untilHalfClosed(call);
      const metadata = new Metadata();
      metadata.set(STATUS_DETAILS_TRAILER, details);
      metadata.set("x-final", "kept");
      // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- each of gRPC's codes
      call.end({ code, details: "naïve: 50 % of «it»\n", metadata });
    };
    await at.service.during(script, async () => {
      for (const kind of ALL_KINDS)
        for (code = 1; code <= 16; code += 1) {
          const answer = await at.client.call(methodOf("Plain", kind), headers);
          const { message, trailers } = answer;
          assert.deepEqual(
            [codeName(answer.code ?? -1), message, unpadded(trailers[STATUS_DETAILS_TRAILER]), trailers["x-final"]],
            [codeName(code), "naïve: 50 % of «it»\n", base64(details), "kept"],
            `${kind} ${shownAnswer(answer)}`,
          );
        }
    });
  });

  promise("a thousand messages go both ways in their order", async (at) => {
    const messages = Array.from({ length: 1000 }, (_, i) => Buffer.from(`${i}${"·".repeat(i % 50)}`));
    const { headers } = await at.elevated("Plain");
    const chat = await at.client.call(methodOf("Plain", "Chat"), headers, messages);
    assert.equal(chat.code, status.OK, shownAnswer(chat));
    assert.deepEqual(chat.messages, messages);
    const { headers: limited } = await at.elevated("Limited");
    const amounts = Array.from({ length: 300 }, (_, i) => requestOf(i));
    const judged = await at.client.call(methodOf("Limited", "Import"), limited, amounts);
    assert.equal(judged.code, status.OK, shownAnswer(judged));
    assert.deepEqual(at.service.callsOf(methodOf("Limited", "Import")).at(-1)?.messages, amounts);
  });

  promise("a call that ends without a message, before its caller is known, ends", async (at) => {
    for (const group of ["Plain", "Open"] as const)
      for (const kind of ALL_KINDS) {
        // Each with a token that was never seen.
        const { headers } = await at.elevated("Plain");
        const answer = await at.client.call(methodOf(group, kind), headers, []);
        if (KINDS[kind][0]) assert.equal(answer.code, status.OK, `${group} ${kind} ${shownAnswer(answer)}`);
        else assert.ok(answer.code !== undefined && answer.code > 0, `${group} ${kind}: one message is wanted`);
      }
  });

  promise("a server that speaks first is heard where no condition needs a message", async (at) => {
    const { headers } = await at.elevated("Plain");
    await at.service.during(
      async (call) => {
        call.write(Buffer.from("welcome"));
        await echo(call);
      },
      async () => {
        const call = at.client.start(methodOf("Plain", "Chat"), headers);
        assert.deepEqual(await call.next(), Buffer.from("welcome"));
        call.send(Buffer.from("thanks"));
        assert.deepEqual(await call.next(), Buffer.from("thanks"));
        call.halfClose();
        assert.equal((await call.ended).code, status.OK);
      },
    );
  });

  promise("deadlines reach the handler, and are kept", async (at) => {
    const { headers } = await at.elevated("Plain");
    for (const kind of ALL_KINDS) {
      const beforeMs = Date.now();
      await at.client.call(methodOf("Plain", kind), [...headers, ["grpc-timeout", "30S"]]);
      const leftMs = (at.service.callsOf(methodOf("Plain", kind)).at(-1)?.deadlineMs ?? 0) - beforeMs;
      assert.ok(leftMs > 20_000 && leftMs <= 31_000, `${kind}: ${leftMs} ms`);
    }
    await at.service.during(
      () => {},
      async () => {
        for (const kind of ALL_KINDS) {
          const answer = await at.client.call(methodOf("Plain", kind), [...headers, ["grpc-timeout", "50m"]]);
          assert.equal(answer.code, status.DEADLINE_EXCEEDED, `${kind} ${shownAnswer(answer)}`);
          const call = at.service.callsOf(methodOf("Plain", kind)).at(-1);
          await at.service.until(() => call?.cancelled === true, `the handler of ${kind} to be told`);
        }
      },
    );
  });

  promise("a caller that leaves is told to the handler", async (at) => {
    const { headers } = await at.elevated("Plain");
    await at.service.during(
      () => {},
      async () => {
        for (const kind of ALL_KINDS) {
          const method = methodOf("Plain", kind);
          const before = at.service.callsOf(method).length;
          const call = at.client.start(method, headers);
          call.send(Buffer.from("x"));
          if (!KINDS[kind][0]) call.halfClose();
          await at.service.until(() => at.service.callsOf(method).length > before, `the handler of ${kind}`);
          call.cancel();
          await at.service.until(() => at.service.callsOf(method).at(-1)?.cancelled === true, `the handler of ${kind} to be told`);
        }
      },
    );
  });

  promise("a service that ends a call early ends it for a caller who is still sending", async (at) => {
    const { headers } = await at.elevated("Plain");
    await at.service.during(
      (call) => call.end({ code: status.RESOURCE_EXHAUSTED, details: "enough" }),
      async () => {
        for (const kind of ["Import", "Chat"] as const) {
          const call = at.client.start(methodOf("Plain", kind), headers);
          for (let i = 0; i < 50; i += 1) call.send(Buffer.alloc(1000));
          const answer = await call.ended;
          assert.deepEqual([answer.code, answer.message], [status.RESOURCE_EXHAUSTED, "enough"], kind);
        }
      },
    );
    assert.equal((await at.client.call(methodOf("Plain", "Unary"), headers)).code, status.OK);
  });

  promise("compressed requests are judged and handed on by what is in them", async (at) => {
    const { headers } = await at.elevated("Limited");
    for (const kind of ALL_KINDS) {
      const method = methodOf("Limited", kind);
      const send = async (amount: number) => {
        const call = at.client.start(method, [...headers, ["grpc-encoding", "gzip"], ["grpc-accept-encoding", "identity,gzip"]]);
        call.send(gzipSync(requestOf(amount)), { compressed: true });
        call.halfClose();
        return call.ended;
      };
      const run = await send(500);
      assert.equal(run.code, status.OK, `${kind} ${shownAnswer(run)}`);
      assert.deepEqual(run.messages, [requestOf(500)]);
      assert.deepEqual(at.service.callsOf(method).at(-1)?.messages, [requestOf(500)]);
      const before = at.service.handled.length;
      const refused = await send(501);
      assert.match(refused.message, /^CONDITION_NOT_MET/, kind);
      assert.equal(at.service.handled.length, before);
    }
  });
}

async function untilHalfClosed(call: HandledCall): Promise<void> {
  while ((await call.next()) !== undefined);
}

/** Binary metadata may come with padding or without (gRPC over HTTP/2, Binary-Header). */
function unpadded(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value.replace(/=+$/, "") : undefined;
}
