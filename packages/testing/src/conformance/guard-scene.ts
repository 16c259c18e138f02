// One guard form at work: an authority, a clock that tests move, the guarded service, and a connection to it.
// Owns the wiring of one test; never expects anything.
import type { Clock } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import { TestClock } from "../clock/clock.ts";
import { GUARD_TOKEN, ScriptedAuthority } from "./guard-authority.ts";
import type { ElevationFields, TokenFaults } from "./guard-facts.ts";
import { type ServedService, WorldService } from "./guard-service.ts";
import { type Headers, WireClient } from "./guard-wire.ts";
import { AUDIENCE, DESCRIPTORS, type Group, policyText } from "./guard-world.ts";

/** A logger as guards take it: pino, or alike. */
export interface FormLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What a form gets to start with. */
export interface FormOptions {
  /** What is to be guarded: serve it with the guard in it, or serve it bare and put the guard before it. */
  readonly services: readonly ServedService[];
  /** How the guard is to be set up; the names are those of `guard()` and `proxy()`. */
  readonly guard: {
    /** The authority's address, `http://127.0.0.1:port`. */
    readonly authority: string;
    readonly audience: string;
    /** The guard's own identity for an audience. */
    readonly identity: (audience: string) => string | Promise<string>;
    /** The only clock that the guard may use. */
    readonly clock: Clock;
    readonly logger: FormLogger;
  };
}

/** A guard at work. */
export interface RunningForm {
  /** `host:port` of the guarded service: HTTP/2 without TLS. */
  readonly address: string;
  /** Resolves once the guard has a policy to decide by. */
  ready(signal?: AbortSignal): Promise<void>;
  status(): { readonly ready: boolean; readonly connected: boolean; readonly silentMs: number };
  /** Ends guard and service. */
  close(): Promise<void>;
}

/** A guard form under test. */
export interface GuardForm {
  /** `interceptor`, `proxy` … */
  readonly name: string;
  start(options: FormOptions): Promise<RunningForm>;
}

/** How a scene is to be. */
export interface SceneOptions {
  /** Put at the end of the policy. */
  readonly policy?: string;
  /** Another guard's authority and clock, for two guards that know the same. */
  readonly beside?: GuardScene;
  /** Default: {@link skewed}. */
  readonly clock?: (clock: TestClock) => Clock;
  readonly logger?: FormLogger;
  /** The authority answers nothing yet, and the guard is not waited for. */
  readonly cutOff?: boolean;
}

/** A principal of its own, and its one elevation. */
export interface Elevated {
  readonly who: string;
  readonly elevation: Elevation;
  /** `authorization`. */
  readonly headers: Headers;
  /** The elevation becomes this, and the guard knows. */
  change(fields: Partial<ElevationFields>): Promise<void>;
}

/** What belongs together; gone together. */
export interface GuardScene extends AsyncDisposable {
  readonly clock: TestClock;
  readonly authority: ScriptedAuthority;
  readonly service: WorldService;
  readonly form: RunningForm;
  readonly client: WireClient;
  /** Lines of the guard's log: fields and message. */
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  /** The name of a person that no other test has. */
  person(): string;
  /** A person with an elevation for a group, ACTIVE for an hour unless the fields say otherwise; the guard knows. */
  elevated(group: Group, fields?: Partial<ElevationFields>): Promise<Elevated>;
  /** `authorization` of a person. */
  as(principal: string, faults?: TokenFaults): Headers;
  /** Moves the clock on; the guard hears of the authority on the way, and knows the exact time at the end. */
  advance(ms: number): Promise<void>;
}

/** A test of one scene. */
export type ScenePromise = (title: string, body: (scene: GuardScene) => Promise<void>) => void;

const START_LIMIT_MS = 20_000;
const STEP_MS = 5000;
/** What the guard's machine believes the time to be differs by so much: it is to make no difference. */
const SKEW_MS = 7 * 3_600_000;

/** The scene's clock as a machine sees it whose wall clock is hours off. */
export function skewed(clock: TestClock, skewMs: () => number = () => SKEW_MS): Clock {
  return {
    wallMs: () => clock.wallMs() + skewMs(),
    monotonicMs: () => clock.monotonicMs(),
    bootMs: () => clock.bootMs(),
    boot: () => clock.boot(),
    after: (delayMs, callback) => clock.after(delayMs, callback),
  };
}

/** Starts all of it. */
export async function guardScene(form: GuardForm, options: SceneOptions = {}): Promise<GuardScene> {
  await using starting = new AsyncDisposableStack();
  const clock = options.beside?.clock ?? new TestClock();
  const authority =
    options.beside?.authority ??
    starting.use(await ScriptedAuthority.start({ policy: policyText(options.policy), descriptors: DESCRIPTORS, clock }));
  if (options.cutOff === true) authority.silent = true;
  const service = new WorldService();
  const lines: Record<string, unknown>[] = [];
  const write = (fields: object, message: string): void => void lines.push({ ...fields, message });
  const running = await form.start({
    services: service.services,
    guard: {
      authority: authority.url,
      audience: AUDIENCE,
      identity: () => GUARD_TOKEN,
      clock: options.clock?.(clock) ?? skewed(clock),
      logger: options.logger ?? { info: write, warn: write, error: write },
    },
  });
  starting.defer(() => running.close());
  if (options.cutOff !== true) {
    await running.ready(AbortSignal.timeout(START_LIMIT_MS));
    await authority.settled();
  }
  const client = starting.use(await WireClient.connect(running.address));
  let people = 0;
  const person = (): string => {
    people += 1;
    return `user:person-${people}@acme.test`;
  };
  const as = (principal: string, faults?: TokenFaults): Headers => [
    ["authorization", `Bearer ${authority.facts.token(principal, faults)}`],
  ];
  const parts = starting.move();
  return {
    clock,
    authority,
    service,
    form: running,
    client,
    lines,
    person,
    async elevated(group, fields = {}) {
      const who = person();
      const always = { id: `elv_${people}`, principal: who, group };
      const elevation = authority.elevate({ ...always, ...fields });
      await authority.settled();
      return {
        who,
        elevation,
        headers: as(who),
        async change(changes) {
          authority.elevate({ ...always, ...changes });
          await authority.settled();
        },
      };
    },
    as,
    async advance(ms) {
      for (let left = ms; left > 0; left -= STEP_MS) {
        clock.advance(Math.min(left, STEP_MS));
        await authority.settled();
      }
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
