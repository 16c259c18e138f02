// What every form of guard has to do, as tests: run them with one line in the form's own test file.
// Never knows how a form does it: it starts one, calls through it, and compares what comes back.
import { after, describe, test } from "node:test";
import { faultConformance, limitConformance } from "./guard-faults.ts";
import { lifecycleConformance } from "./guard-lifecycle.ts";
import { passingConformance } from "./guard-passing.ts";
import { probeConformance } from "./guard-probe.ts";
import { recordConformance } from "./guard-record.ts";
import { type GuardForm, type GuardScene, guardScene, type SceneOptions, type ScenePromise } from "./guard-scene.ts";
import { narrowedStreams, streamConformance } from "./guard-streams.ts";
import { awayConformance, timeConformance } from "./guard-time.ts";
import { answersOf, assertVerdict, prepare, verdictCases } from "./guard-verdicts.ts";

export { type Refusal, refusalOf } from "./guard-answer.ts";
export {
  type FormLogger,
  type FormOptions,
  type GuardForm,
  type GuardScene,
  guardScene,
  type RunningForm,
  type SceneOptions,
} from "./guard-scene.ts";
export { type ServedServer, type ServedService, serve } from "./guard-service.ts";
export { answersOf, prepare, type VerdictAnswer, type VerdictCase, verdictCases } from "./guard-verdicts.ts";

/** Registers the suite for one form. */
export function guardConformance(form: GuardForm): void {
  void describe(`guard: ${form.name}`, () => {
    void describe("the same verdict for all kinds of calls", () => verdicts(form));
    void describe("what passes", () => passingConformance(sharing(form)));
    void describe("what is written down", () => recordConformance(sharing(form)));
    void describe("streams", () => streamConformance(sharing(form)));
    void describe("streams under another policy", () => {
      alone("a policy that forbids a method ends its open streams", async () => {
        await using scene = await guardScene(form);
        await narrowedStreams(scene);
      });
    });
    void describe("time", () => timeConformance(sharing(form)));
    void describe("without the authority", () => awayConformance(alone, form));
    void describe("with a real authority", () => lifecycleConformance(alone, form));
    void describe("faults", () => faultConformance(alone, form));
    void describe("what a probe is told", () => probeConformance(sharing(form)));
    void describe("limits", () => limitConformance(sharing(form)));
  });
}

function verdicts(form: GuardForm): void {
  const at = shared(form);
  for (const [index, one] of verdictCases.entries())
    void test(one.name, async () => {
      const scene = await at();
      const headers = prepare(one, index, scene);
      await scene.authority.settled();
      assertVerdict(one, headers, await answersOf(one, headers, scene));
    });
}

/** A test that makes what it needs. */
function alone(title: string, body: () => Promise<void>): void {
  void test(title, body);
}

/** Tests that share a scene. */
function sharing(form: GuardForm, options?: SceneOptions): ScenePromise {
  const at = shared(form, options);
  return (title, body) => void test(title, async () => body(await at()));
}

/** One scene for all tests of a group: starting it costs more than they do. */
function shared(form: GuardForm, options: SceneOptions = {}): () => Promise<GuardScene> {
  let scene: Promise<GuardScene> | undefined;
  after(async () => (await scene)?.[Symbol.asyncDispose]());
  return () => (scene ??= guardScene(form, options));
}
