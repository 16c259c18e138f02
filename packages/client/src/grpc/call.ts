// One call through elevate(): issued with the caller's identity; a unary one is parked when it is refused, and issued again once, when that
// helps. Owns the call's phases, and its deadline, cancellation and final status while no call below it does.
import { type Clock, type ReceivedStatus, type Timer, TRACEPARENT_HEADER, WINDOW_ENDS_TRAILER } from "@brevet/protocol";
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
import { tell } from "./hooks.ts";
import type { Settings } from "./options.ts";
import type { Parking, Verdict } from "./parking.ts";
import { noIdentity } from "./refusal.ts";
import { type Remedy, remedyFor } from "./remedy.ts";

/** What grpc-js calls a call, as interceptors stack them. */
type InnerCall = ReturnType<NextCall>;
type MessageContext = Parameters<InnerCall["sendMessageWithContext"]>[0];

/** What all calls of one elevate() share. */
export interface CallMeans {
  readonly settings: Settings;
  readonly credentials: Credentials;
  readonly parking: Parking;
}

/**
 * `new`: not started. `preparing`: waits for its token. `issued`: a call below runs it. `parked`: refused, waits for an approval.
 * `over`: its status is given or on the way.
 */
type Phase = "new" | "preparing" | "issued" | "parked" | "over";

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
  /** The message to send: of a unary call until its end, otherwise until there is a call to send it to. */
  #message: { readonly context: MessageContext; readonly message: unknown } | undefined;
  #halfClosed = false;
  #reading = false;
  /** Response headers came: from there on the service has it, and nothing is tried again. */
  #committed = false;
  #emptyHanded = false;
  #issuedAgain = false;
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
    if (this.#phase === "issued") {
      if (this.#isUnary) this.#message = { context, message };
      this.#inner?.sendMessageWithContext(context, message);
    } else if (this.#phase !== "over") this.#message = { context, message };
  }

  startRead(): void {
    if (this.#phase === "issued") this.#inner?.startRead();
    this.#reading = true;
  }

  halfClose(): void {
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
    this.#committed = true;
    this.#listener.onReceiveMetadata?.(metadata);
  }

  onReceiveMessage(message: unknown): void {
    // grpc-js says "no message" before the status of a refusal: hold it back until it is clear whether the call goes on.
    if (message === null && !this.#committed && this.#isUnary) this.#emptyHanded = true;
    else this.#listener.onReceiveMessage?.(message);
  }

  onReceiveStatus(status: StatusObject): void {
    if (this.#phase !== "issued") return;
    if (status.code === Status.OK) {
      this.#tellWindow(status);
      return this.#deliver(status);
    }
    const refused = readStatusObject(status);
    if (refused.reason === undefined) return this.#deliver(status);
    this.#log(refused);
    const { audience } = this.#means.settings;
    const remedy = this.#mayPark ? remedyFor(refused, { method: this.#method, audience }) : undefined;
    if (remedy === undefined) this.#deliver(status);
    else this.#park(status, refused, remedy);
  }

  get #isUnary(): boolean {
    const { requestStream, responseStream } = this.#options.method_definition;
    return !requestStream && !responseStream;
  }

  /** In a chain only the outermost client parks: a call made on behalf of another passes the refusal on. */
  get #mayPark(): boolean {
    const closing = this.#means.settings.signal?.aborted ?? false;
    return this.#isUnary && !this.#committed && !this.#issuedAgain && this.#options.parent === undefined && !closing;
  }

  #park(status: StatusObject, refused: ReceivedStatus, remedy: Remedy): void {
    const { settings, parking } = this.#means;
    const remainingMs = this.#remainingMs(settings.clock);
    const leave = new AbortController();
    this.#phase = "parked";
    this.#leave = leave;
    this.#peer = this.getPeer();
    this.#inner = undefined;
    const call = {
      method: this.#method,
      audience: settings.audience,
      refused,
      remedy,
      given: this.#given ?? new Metadata(),
      sent: this.#sent ?? new Metadata(),
    };
    void parking.help(call, leave.signal).then((verdict) => this.#resume(verdict, status, remainingMs));
  }

  #resume(verdict: Verdict, refusal: StatusObject, remainingMs: number | undefined): void {
    if (this.#phase !== "parked") return;
    if (verdict.kind === "pass") return this.#deliver(refusal);
    if (verdict.kind === "end") return this.#deliver(verdict.status);
    this.#issuedAgain = true;
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
    inner.start(metadata, this);
    if (this.#message !== undefined) {
      const { context, message } = this.#message;
      // Whoever sent it was told the first time that it is sent.
      inner.sendMessageWithContext(this.#issuedAgain ? withoutCallback(context) : context, message);
      if (!this.#isUnary) this.#message = undefined;
    }
    if (this.#halfClosed) inner.halfClose();
    if (this.#reading) inner.startRead();
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
    this.#emptyHanded = this.#isUnary;
    process.nextTick(() => this.#deliver(status));
  }

  #deliver(status: StatusObject): void {
    this.#phase = "over";
    this.#message = undefined;
    if (this.#emptyHanded) this.#listener.onReceiveMessage?.(null);
    this.#listener.onReceiveStatus?.(status);
  }

  #log(refused: ReceivedStatus): void {
    const { logger, audience } = this.#means.settings;
    if (logger === undefined) return;
    const [traceparent] = this.#sent?.get(TRACEPARENT_HEADER) ?? [];
    const { decisionId, elevation } = refused.metadata;
    const fields = { decisionId, reason: refused.reason, code: refused.code, method: this.#method, audience, elevation, traceparent };
    logger.warn({ ...fields, metadata: refused.metadata }, refused.message);
  }

  #tellWindow(status: StatusObject): void {
    const { onProgress, logger } = this.#means.settings;
    if (onProgress === undefined) return;
    const [text] = status.metadata.get(WINDOW_ENDS_TRAILER);
    if (typeof text !== "string" || !/^\d{1,9}$/.test(text)) return;
    tell(onProgress, { kind: "window", method: this.#method, secondsLeft: Number(text) }, logger);
  }
}

function withoutCallback({ flags }: MessageContext): MessageContext {
  return flags === undefined ? {} : { flags };
}
