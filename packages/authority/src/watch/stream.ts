// The life of a stream: when it ends by itself, and how it shows that it is alive. Never sends anything.
import type { Clock, Timer } from "@brevet/protocol";
import type { AuthenticatedCaller } from "../identity/identity.ts";
import type { Mailbox } from "./mailbox.ts";
import { draining, identityEnded } from "./refused.ts";

/** Below the 15 seconds that the API promises. */
const HEARTBEAT_MS = 10_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** All that ends with a stream. */
export type Life = DisposableStack;

/** What makes a stream end. */
export interface Ends {
  readonly mailbox: Pick<Mailbox<object>, "fail" | "close">;
  /** The caller went away. */
  readonly signal: AbortSignal;
  /** The authority goes away. */
  readonly drain: AbortSignal;
  readonly clock: Clock;
  readonly caller: AuthenticatedCaller;
}

/** Ends the mailbox with the caller, the authority, or what the caller presented; whichever comes first. */
export function lifeOf({ mailbox, signal, drain, clock, caller }: Ends): Life {
  const life = new DisposableStack();
  onAbort(life, drain, () => mailbox.fail(draining()));
  onAbort(life, signal, () => mailbox.close());
  const delayMs = caller.expiresMs - clock.wallMs();
  if (delayMs <= LONGEST_TIMER_MS) {
    const timer = clock.after(delayMs, () => mailbox.fail(identityEnded()));
    life.defer(() => timer.cancel());
  }
  return life;
}

/** Calls `beat` again and again until disposed. */
export function heartbeats(clock: Clock, beat: () => unknown, everyMs: () => number = () => HEARTBEAT_MS): Disposable {
  let timer: Timer;
  const again = () => {
    timer = clock.after(everyMs(), () => {
      beat();
      again();
    });
  };
  again();
  return { [Symbol.dispose]: () => timer.cancel() };
}

function onAbort(life: Life, signal: AbortSignal, listener: () => void): void {
  if (signal.aborted) listener();
  signal.addEventListener("abort", listener, { once: true });
  life.defer(() => signal.removeEventListener("abort", listener));
}
