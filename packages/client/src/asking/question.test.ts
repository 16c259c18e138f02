import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "@brevet/protocol";
import { type Elevation, ElevationSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create } from "@bufbuild/protobuf";
import { type Pursuit, Question } from "./question.ts";

test("a question whose only follower fails to join ends, and takes no others", async () => {
  const joins = [
    { signal: AbortSignal.abort(new Error("no thanks")) },
    {
      onChange: () => {
        throw new Error("no thanks");
      },
    },
  ];
  for (const options of joins) {
    let ends = 0;
    let pursued: AbortSignal | undefined;
    const pursue: Pursuit = (signal, publish) => {
      pursued = signal;
      publish(create(ElevationSchema, { id: "elv_1" }));
      return new Promise<Elevation>((_, reject) => signal.addEventListener("abort", () => reject(new Error("ended"))));
    };
    const question = new Question(pursue, systemClock, () => {
      ends += 1;
    });
    await assert.rejects(question.follow(options), /no thanks/);
    assert.deepEqual([pursued?.aborted, ends > 0], [true, true]);
  }
});
