// One call of any kind through elevate(): issued with the caller's identity; parked when it is refused, and issued again once, when that helps
// and all that was sent is still here. Owns the call's phases, and its deadline, cancellation and final status while no call below it does.
import type { Clock, ReceivedStatus, Timer } from "@brevet/protocol";
import type { Elevation } from "@brevet/protocol/brevet/v1/elevation";
import {
  type InterceptingListener,
  type InterceptorOptions,
  Metadata,
  type NextCall,
  status as Status,
  type StatusObject,
} from "@grpc/grpc-js";
import { IdentityFailure } from "../connection/failure.ts";
import type { Credentials } from "./credentials.ts";
import { readStatusObject } from "./errors.ts";
import type { RefusedHalf } from "./half.ts";
import { mayBeOpen } from "./joining.ts";
import type { Settings } from "./options.ts";
import { type InnerCall, type MessageContext, Outbox, owned, type Serialise } from "./outbox.ts";
import type { Parking, Verdict } from "./parking.ts";
import { noIdentity } from "./refusal.ts";
import { endedUnderway, isBehind, type Remedy, remedyFor } from "./remedy.ts";
import { logRefusal, tellWindow } from "./telling.ts";
import type { Warnings } from "./warnings.ts";

/** What all calls of one elevate() share. */
export interface CallMeans {
  readonly settings: Settings;
  readonly credentials: Credentials;
  readonly parking: Parking;
  readonly warnings: Warnings;
  /** Tells the authority, later. */
  readonly report: (half: RefusedHalf) => void;
}

/**
 * `new`: not started. `preparing`: waits for its token. `issued`: a call below runs it. `parked`: refused, waits for an approval.
 * `over`: its status is given or on the way.
 */
type Phase = "new" | "preparing" | "issued" | "parked" | "over";

/** The name that tells a pinned serialiser. */
const PINNED = "brevetPinned";

/** Call and listener in one object: a call that needs no elevation needs nothing else. */
export class ElevatedCall implements InnerCall, InterceptingListener {
  readonly #means: CallMeans;
  readonly #method: string;
  readonly #nextCall: NextCall;
  #options: InterceptorOptions;
  #phase: Phase = "new";
  #inner: InnerCall | undefined;
  #listener: Partial<InterceptingListener> = {};
  /** The program's metadata, and what became of it. */
  #given: Metadata | undefined;
  #sent: Metadata | undefined;
  /** The one message of a unary or server-streaming call, until it is admitted, and the bytes that it was when it was sent. */
  #message: unknown;
  #context: MessageContext | undefined;
  #bytes: Buffer | undefined;
  /** The messages of the other kinds. */
  #outbox: Outbox | undefined;
  #halfClosed = false;
  #reading = false;
  /** Response headers came: from there on the service has it, and nothing is tried again. */
  #committed = false;
  #emptyHanded = false;
  #issuedAgain = false;
  /** What it was issued again for, while the guard may not have heard of it. */
  #unproven: Elevation | undefined;
  #issuedAtMs = 0;
  /** From the start to the deadline. */
  #deadlineMs: number | undefined;
  #peer = "unknown";
  #deadline: Timer | undefined;
  #leave: AbortController | undefined;

  constructor(means: CallMeans, method: string, options: InterceptorOptions, nextCall: NextCall) {
    this.#means = means;
    this.#method = method;
    this.#options = options;
    this.#nextCall = nextCall;
  }

  start(metadata: Metadata, listener: Partial<InterceptingListener> = {}): void {
    this.#listener = listener;
    this.#given = metadata;
    this.#deadlineMs = this.#remainingMs(this.#means.settings.clock);
    this.#pin();
    let ready: Metadata | Promise<Metadata>;
    try {
      ready = this.#means.credentials.of(this.#method, metadata);
    } catch (error) {
      return this.#endWith(error);
    }
    // A throw of the channel goes to the program as it does without this library.
    if (!("then" in ready)) return this.#issue(ready);
    this.#phase = "preparing";
    this.#armDeadline();
    ready.then(
      (complete) => this.#tryIssue(complete),
      (error: unknown) => this.#endWith(error),
    );
  }

  sendMessage(message: unknown): void {
    this.sendMessageWithContext({}, message);
  }

  sendMessageWithContext(context: MessageContext, message: unknown): void {
    if (this.#outbox !== undefined) return this.#outbox.write(context, message);
    this.#context = context;
    this.#message = message;
    if (this.#phase === "issued") this.#inner?.sendMessageWithContext(context, message);
    else if (this.#phase === "preparing") this.#codeNow();
  }

  startRead(): void {
    if (this.#phase === "issued") this.#inner?.startRead();
    this.#reading = true;
  }

  halfClose(): void {
    if (this.#outbox !== undefined) return this.#outbox.halfClose();
    this.#halfClosed = true;
    if (this.#phase === "issued") this.#inner?.halfClose();
  }

  cancelWithStatus(code: StatusObject["code"], details: string): void {
    if (this.#phase === "issued") return this.#inner?.cancelWithStatus(code, details);
    this.#end({ code, details, metadata: new Metadata() });
  }

  getPeer(): string {
    return this.#inner?.getPeer() ?? this.#peer;
  }

  getAuthContext(): ReturnType<InnerCall["getAuthContext"]> {
    return this.#inner?.getAuthContext() ?? null;
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.#commit();
    this.#listener.onReceiveMetadata?.(metadata);
  }

  onReceiveMessage(message: unknown): void {
    // grpc-js says "no message" before the status of a refusal: hold it back until it is clear whether the call goes on.
    if (message === null && !this.#committed && this.#answersOnce) {
      this.#emptyHanded = true;
      return;
    }
    this.#commit();
    this.#listener.onReceiveMessage?.(message);
  }

  onReceiveStatus(status: StatusObject): void {
    if (this.#phase !== "issued") return;
    const refused = status.code === Status.OK ? undefined : readStatusObject(status);
    const { settings, warnings } = this.#means;
    if (refused?.reason === undefined) {
      if (warnings.heard) {
        const secondsLeft = tellWindow(settings, this.#method, status);
        if (secondsLeft !== undefined) warnings.ends(this.#method, secondsLeft * 1000);
      }
      return this.#deliver(status);
    }
    const { audience } = settings;
    const half = this.#half(refused);
    logRefusal(settings, half);
    const remedy = this.#mayPark(refused) ? remedyFor(refused, { method: this.#method, audience }) : undefined;
    // What is asked for now carries it along.
    if (settings.report && !(remedy === "approval" && !mayBeOpen(half))) this.#means.report(half);
    if (remedy === undefined) this.#deliver(status);
    else this.#park(status, refused, remedy);
  }

  #half(refused: ReceivedStatus): RefusedHalf {
    const { audience, clock } = this.#means.settings;
    const sent = this.#sent ?? new Metadata();
    return { method: this.#method, audience, refused, sent, deadlineMs: this.#deadlineMs, nowMs: clock.wallMs() };
  }

  /** The service has it: nothing is issued again, and nothing is kept for that. */
  #commit(): void {
    if (this.#committed) return;
    this.#committed = true;
    this.#unproven = undefined;
    this.#message = undefined;
    this.#bytes = undefined;
    this.#outbox?.release();
  }

  get #answersOnce(): boolean {
    return !this.#options.method_definition.responseStream;
  }

  /** In a chain only the outermost client parks: a call made on behalf of another passes the refusal on. */
  get #isOutermost(): boolean {
    return this.#options.parent === undefined;
  }

  #mayPark(refused: ReceivedStatus): boolean {
    const { settings } = this.#means;
    if (this.#committed || !this.#isOutermost || settings.signal?.aborted) return false;
    if (this.#isStream && endedUnderway(refused, settings.clock.monotonicMs() - this.#issuedAtMs)) return false;
    return !this.#issuedAgain || (this.#unproven !== undefined && isBehind(refused, this.#unproven.id));
  }

  get #isStream(): boolean {
    const { requestStream, responseStream } = this.#options.method_definition;
    return requestStream || responseStream;
  }

  #park(status: StatusObject, refused: ReceivedStatus, remedy: Remedy): void {
    const { settings, parking } = this.#means;
    const remainingMs = this.#remainingMs(settings.clock);
    const leave = new AbortController();
    this.#phase = "parked";
    this.#leave = leave;
    this.#peer = this.getPeer();
    this.#inner = undefined;
    if (this.#bytes !== undefined) this.#bytes = owned(this.#bytes, this.#message);
    const isWhole = this.#outbox?.whole ?? true;
    if (isWhole) this.#outbox?.close();
    else this.#outbox?.end();
    // A writer that was told to go on may have cancelled.
    if (leave.signal.aborted) return;
    const call = {
      method: this.#method,
      audience: settings.audience,
      decisionId: refused.metadata.decisionId,
      principal: refused.metadata.principal,
      refused,
      status,
      remedy,
      given: this.#given ?? new Metadata(),
      sent: this.#sent ?? new Metadata(),
      deadlineMs: this.#deadlineMs,
      request: this.#outbox === undefined ? () => this.#exactRequest() : undefined,
    };
    this.#sent = undefined;
    const unproven = this.#unproven;
    this.#unproven = undefined;
    const help = () => (unproven === undefined ? parking.help(call, leave.signal) : parking.prove(call, unproven, leave.signal));
    const verdict = isWhole ? help() : parking.announce(call, leave.signal, remainingMs);
    void verdict.then((reached) => this.#resume(reached, remainingMs));
  }

  #resume(verdict: Verdict, remainingMs: number | undefined): void {
    if (this.#phase !== "parked") return;
    if (verdict.kind === "end") return this.#deliver(verdict.status);
    this.#issuedAgain = true;
    this.#unproven = verdict.unproven;
    this.#emptyHanded = false;
    // The wait for a person is not the call's: it goes on with the time that it had left.
    if (remainingMs !== undefined) this.#options = { ...this.#options, deadline: this.#means.settings.clock.wallMs() + remainingMs };
    this.#tryIssue(verdict.metadata);
  }

  #tryIssue(metadata: Metadata): void {
    if (this.#phase === "over") return;
    try {
      this.#issue(metadata);
    } catch (error) {
      // The channel was closed meanwhile.
      const text = error instanceof Error ? error.message : String(error);
      this.#phase = "preparing";
      this.#end({ code: Status.UNAVAILABLE, details: `${this.#method} could not be issued: ${text}`, metadata: new Metadata() });
    }
  }

  #issue(metadata: Metadata): void {
    this.#deadline?.cancel();
    this.#sent = metadata;
    const inner = this.#nextCall(this.#options);
    this.#inner = inner;
    this.#phase = "issued";
    if (this.#isStream) this.#issuedAtMs = this.#means.settings.clock.monotonicMs();
    inner.start(metadata, this);
    if (this.#inner !== inner) return;
    if (this.#outbox !== undefined) this.#outbox.open(inner, !this.#issuedAgain);
    // Whoever sent it was told the first time that it is sent.
    else if (this.#context !== undefined)
      inner.sendMessageWithContext(this.#issuedAgain ? withoutCallback(this.#context) : this.#context, this.#message);
    if (this.#halfClosed) inner.halfClose();
    if (this.#reading) inner.startRead();
  }

  /**
   * Has each message coded once. grpc-js codes a message when it is sent, so programs use the object again; what is issued again, and what an
   * approval of one exact request covers, are the bytes of then. The definition is this call's own: grpc-js makes one for each.
   */
  #pin(): void {
    const { method_definition: definition } = this.#options;
    const plain: Serialise = definition.requestSerialize;
    if (definition.requestStream) this.#outbox = new Outbox(this.#means.settings.buffer, plain, this.#isOutermost);
    // Somebody shares it between calls: theirs are coded anew.
    if (plain.name === PINNED) return;
    const brevetPinned: Serialise = (message: unknown) => this.#coded(message, plain);
    definition.requestSerialize = brevetPinned;
  }

  #coded(message: unknown, plain: Serialise): Buffer {
    if (this.#outbox !== undefined) return this.#outbox.bytesOf(message) ?? plain(message);
    if (this.#committed || message !== this.#message) return plain(message);
    this.#bytes ??= plain(message);
    return this.#bytes;
  }

  /** While nobody sends it: the program has its object back as soon as it has called. */
  #codeNow(): void {
    try {
      this.#bytes = owned(this.#options.method_definition.requestSerialize(this.#message), this.#message);
    } catch {
      // The call below will say so.
    }
  }

  /** The one message as it goes over the wire. */
  #exactRequest(): Uint8Array | undefined {
    if (this.#context !== undefined) this.#bytes ??= this.#options.method_definition.requestSerialize(this.#message);
    return this.#bytes;
  }

  /** A call that is not issued has no deadline but this. */
  #armDeadline(): void {
    const { clock } = this.#means.settings;
    const remainingMs = this.#remainingMs(clock);
    if (remainingMs === undefined) return;
    const details = `Deadline exceeded while waiting for an identity token for ${this.#means.settings.audience}`;
    const onDeadline = () => this.#end({ code: Status.DEADLINE_EXCEEDED, details, metadata: new Metadata() });
    this.#deadline = clock.after(Math.max(0, remainingMs), onDeadline, { hold: true });
  }

  #remainingMs(clock: Clock): number | undefined {
    const { deadline } = this.#options;
    if (deadline === undefined) return undefined;
    const remainingMs = (typeof deadline === "number" ? deadline : deadline.getTime()) - clock.wallMs();
    return Number.isFinite(remainingMs) ? remainingMs : undefined;
  }

  #endWith(error: unknown): void {
    const { audience } = this.#means.settings;
    const failure = error instanceof IdentityFailure ? error : new IdentityFailure(audience, error);
    this.#end(noIdentity({ method: this.#method, audience }, failure));
  }

  /** Ends a call that no call below will end; later, as grpc-js does, so that whoever cancels is done with it. */
  #end(status: StatusObject): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    this.#leave?.abort();
    this.#deadline?.cancel();
    this.#emptyHanded = this.#answersOnce;
    process.nextTick(() => this.#deliver(status));
  }

  #deliver(status: StatusObject): void {
    this.#phase = "over";
    this.#message = undefined;
    this.#bytes = undefined;
    this.#outbox?.end();
    if (this.#emptyHanded) this.#listener.onReceiveMessage?.(null);
    this.#listener.onReceiveStatus?.(status);
  }
}

function withoutCallback({ flags }: MessageContext): MessageContext {
  return flags === undefined ? {} : { flags };
}
