import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { DueQueue } from "./due.ts";

test("whatever is put in and taken out, the first is the one that falls due first", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(9), fc.nat(20)), { maxLength: 100 }), (steps) => {
      const queue = new DueQueue<{ dueMs: number; place: number }>();
      const inside: { dueMs: number; place: number }[] = [];
      for (const [kind, value] of steps) {
        if (kind < 6) {
          const one = { dueMs: value, place: -1 };
          queue.add(one);
          inside.push(one);
        } else {
          const [one] = inside.splice(value % Math.max(1, inside.length), 1);
          if (one !== undefined) {
            queue.remove(one);
            // A second time changes nothing.
            queue.remove(one);
          }
        }
        assert.equal(queue.size, inside.length);
        assert.equal(queue.first?.dueMs, inside.length === 0 ? undefined : Math.min(...inside.map(({ dueMs }) => dueMs)));
        assert.deepEqual(new Set(queue.all()), new Set(inside));
      }
    }),
    { numRuns: 500 },
  );
});

test("nothing is in the queue twice", () => {
  const queue = new DueQueue<{ dueMs: number; place: number }>();
  const one = { dueMs: 1, place: -1 };
  queue.add(one);
  assert.throws(() => queue.add(one));
});
