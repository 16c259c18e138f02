// The link between one guard and the authority: who may sync, what comes up (acknowledgements, time probes, decisions), and when the
// stream ends. What goes down is made by feed.ts. Never sends a guard what is not of its audience.
import { hasRole, isGuard } from "@brevet/policy";
import { type Principal, PrincipalKind, PrincipalSchema } from "@brevet/protocol/brevet/v1/elevation";
import type {
  DecisionBatch,
  GuardHello,
  GuardServiceSyncRequest,
  GuardServiceSyncResponse,
  GuardStatus,
} from "@brevet/protocol/brevet/v1/guard";
import { create } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import type { DecisionIntake } from "../decisions/intake.ts";
import type { AuthenticatedCaller } from "../identity/identity.ts";
import { Mailbox } from "../watch/mailbox.ts";
import { isResumable } from "../watch/position.ts";
import { Refused, tooSlow } from "../watch/refused.ts";
import { heartbeats, type Life, lifeOf } from "../watch/stream.ts";
import { GuardFeed, type GuardFeedOptions, type GuardNews } from "./feed.ts";
import type { GuardConnection, GuardRegistry } from "./registry.ts";

const MOST_WAITING = 10_000;
/** Of one batch. */
const MOST_DECISIONS = 1000;
/** Of one guard, on their way into the store. */
const MOST_BATCHES = 8;
const HEARTBEAT_MS = 15_000;
const SHORTEST_HEARTBEAT_MS = 100;
const KIND = { user: PrincipalKind.USER, workload: PrincipalKind.WORKLOAD, ci: PrincipalKind.CI } as const;

/** What {@link GuardLink} stands on. */
export interface GuardLinkOptions extends GuardFeedOptions {
  readonly registry: GuardRegistry;
  readonly decisions: DecisionIntake;
  readonly logger: Logger;
  /** What waits for one guard at most; then it is cut, and resumes. Default 10,000. */
  readonly mostWaiting?: number;
  /** Aborted when the authority goes away. */
  readonly drain: AbortSignal;
}

/** Serves all guards. */
export class GuardLink {
  readonly #options: GuardLinkOptions;

  constructor(options: GuardLinkOptions) {
    this.#options = options;
  }

  /** One guard's stream. Throws {@link Refused}. */
  async *sync(
    caller: AuthenticatedCaller,
    requests: AsyncIterable<GuardServiceSyncRequest>,
    signal: AbortSignal,
  ): AsyncGenerator<GuardServiceSyncResponse> {
    const { registry, log, drain, clock } = this.#options;
    const incoming = requests[Symbol.asyncIterator]();
    const first = await incoming.next();
    const hello = checkHello(first.done === true ? undefined : first.value);
    const guard = await this.#guard(caller, hello.audience);
    using mailbox = new Mailbox<GuardNews>(this.#options.mostWaiting ?? MOST_WAITING, tooSlow);
    using ends = lifeOf({ mailbox, signal, drain, clock, caller });
    const feed = new GuardFeed(this.#options, hello.audience);
    // From here on nothing is missed: what the state has already is left out again.
    ends.use(
      log.subscribe((changes) => {
        for (const change of changes) if (feed.concerns(change)) mailbox.push({ kind: "change", change });
      }),
    );
    const head = log.position();
    const connected = registry.connect(guard, hello);
    if (connected === undefined) throw tooManyGone(guard);
    const connection = ends.use(connected);
    // First: what it is sent it may permit with, also when this authority has forgotten everything.
    await registry.save();
    this.#watchRights(caller, hello.audience, mailbox, ends);
    // What waits already tells the guard as much.
    const beat = () => mailbox.length === 0 && mailbox.push({ kind: "heartbeat", position: log.position() });
    ends.use(heartbeats(clock, beat, () => this.#heartbeatMs(hello.audience)));
    void this.#read(incoming, { hello, guard, connection, mailbox });
    const after = hello.after && (await isResumable(hello.after, head, log.store)) ? hello.after : undefined;
    this.#greet(guard, hello, after !== undefined);
    yield* feed.present(guard, after, head);
    for await (const news of mailbox) {
      const message = await feed.tell(news);
      if (message) yield message;
    }
  }

  /** The guards that the caller may see. */
  list(caller: AuthenticatedCaller, audience: string): GuardStatus[] {
    const { policies, registry } = this.#options;
    const visible = caller.audiences().filter((each) => {
      const policy = policies.current(each)?.policy;
      const facts = caller.principalFor(each);
      return policy !== undefined && facts !== undefined && (hasRole(policy, "admin", facts) || hasRole(policy, "auditor", facts));
    });
    return registry.list(new Set(visible.filter((each) => audience === "" || each === audience)));
  }

  #greet(guard: Principal, { audience, form, instance, after }: GuardHello, resumed: boolean): void {
    const { logger } = this.#options;
    const about = { guard: guard.name, audience, form, instance };
    if (after === undefined || resumed) return logger.info({ ...about, resumed }, "a guard is linked");
    const problem =
      "the guard comes with a position that is not in this log: it gets the whole state; unless the log was restored, find out why";
    logger.error({ ...about, epoch: after.epoch, revision: `${after.revision}` }, problem);
  }

  async #guard(caller: AuthenticatedCaller, audience: string): Promise<Principal> {
    const facts = this.#guardFacts(caller, audience);
    if (facts === undefined) throw notAGuard(caller, audience);
    const id = (await this.#options.log.store.principalByName(facts.name))?.id ?? "";
    return create(PrincipalSchema, { id, name: facts.name, kind: KIND[facts.kind] });
  }

  #guardFacts(caller: AuthenticatedCaller, audience: string) {
    const policy = this.#options.policies.current(audience)?.policy;
    const facts = caller.principalFor(audience);
    return policy && facts && isGuard(policy, facts) ? facts : undefined;
  }

  /** Keys and rights follow the policy; the stream ends with the right, and with what the guard presented. */
  #watchRights(caller: AuthenticatedCaller, audience: string, mailbox: Mailbox<GuardNews>, ends: Life): void {
    const { policies, identities } = this.#options;
    let version = policies.current(audience)?.version;
    ends.use(
      policies.onChange(() => {
        const current = policies.current(audience);
        if (current?.version === version) return;
        version = current?.version;
        if (this.#guardFacts(caller, audience) === undefined) mailbox.fail(notAGuard(caller, audience));
        else mailbox.push({ kind: "keys" });
      }),
    );
    ends.use(
      identities.onKeysChange((issuer) => {
        if (policies.current(audience)?.policy.issuers.some((rule) => rule.issuer === issuer)) mailbox.push({ kind: "keys" });
      }),
    );
  }

  #heartbeatMs(audience: string): number {
    const staleMs = this.#options.policies.current(audience)?.policy.whenStale.afterMs ?? HEARTBEAT_MS * 4;
    return Math.max(SHORTEST_HEARTBEAT_MS, Math.min(HEARTBEAT_MS, staleMs / 4));
  }

  async #read(
    incoming: AsyncIterator<GuardServiceSyncRequest>,
    to: { hello: GuardHello; guard: Principal; connection: GuardConnection; mailbox: Mailbox<GuardNews> },
  ): Promise<void> {
    const { clock, decisions } = this.#options;
    const { hello, guard, connection, mailbox } = to;
    let keeping = 0;
    const keep = async (batch: DecisionBatch) => {
      // Beside the stream: a slow disk must not make time samples late.
      if (await decisions.take({ ...hello, guard }, batch)) connection.decided(batch);
      mailbox.push({ kind: "taken", sequence: batch.sequence });
    };
    try {
      for (let next = await incoming.next(); next.done !== true; next = await incoming.next()) {
        const { message } = next.value;
        connection.seen();
        switch (message.case) {
          case "acknowledgement":
            connection.acknowledged(message.value);
            break;
          case "timeProbe":
            mailbox.push({ kind: "time", sent: message.value.sent, receivedMs: clock.wallMs() }, { urgent: true });
            break;
          case "decisions":
            if (message.value.decisions.length > MOST_DECISIONS) {
              mailbox.fail(invalid("decisions.decisions", "must be at most 1,000"));
              return;
            }
            if (message.value.sequence === 0n || message.value.sequence >= 2n ** 63n) {
              mailbox.fail(invalid("decisions.sequence", "counts from 1"));
              return;
            }
            // A guard sends the next one when this one is taken.
            if (keeping >= MOST_BATCHES) return mailbox.fail(invalid("decisions", "the batches before have to be taken first"));
            keeping += 1;
            void keep(message.value).then(() => (keeping -= 1));
            break;
          case "hello":
            mailbox.fail(invalid("hello", "comes once, first"));
            return;
          case undefined:
            break;
          default:
            message satisfies never;
        }
      }
    } catch {
      // The guard went away; the stream's own end says how.
    }
    mailbox.close();
  }
}

function checkHello(request: GuardServiceSyncRequest | undefined): GuardHello {
  if (request?.message.case !== "hello") throw invalid("hello", "the first message must be hello");
  const hello = request.message.value;
  if (hello.audience === "" || hello.audience.length > 128) throw invalid("hello.audience", "must be 1 to 128 characters");
  for (const field of ["form", "instance", "software"] as const) {
    if (hello[field].length > 128) throw invalid(`hello.${field}`, "must be at most 128 characters");
  }
  return hello;
}

function invalid(field: string, problem: string): Refused {
  return new Refused({
    reason: "REQUEST_INVALID",
    message: `${field}: ${problem}`,
    metadata: { field, problem },
    fieldViolations: [{ field, description: problem }],
  });
}

function tooManyGone({ name }: Principal): Refused {
  return new Refused({
    reason: "REQUEST_QUOTA_EXCEEDED",
    message: `too many instances of ${name} went away and can still permit; keep an instance's name over its restarts, or wait`,
    metadata: { principal: name },
  });
}

function notAGuard(caller: AuthenticatedCaller, audience: string): Refused {
  const principal = caller.principalFor(audience)?.name ?? caller.name;
  const who = principal === "" ? "this identity" : principal;
  return new Refused({
    reason: "ROLE_REQUIRED",
    message: `${who} is not among the guards of the audience ${audience.slice(0, 128)}`,
    metadata: { role: "guard", audience, ...(principal === "" ? {} : { principal }) },
  });
}
