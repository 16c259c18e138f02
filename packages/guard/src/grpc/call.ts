// One call of a guarded grpc-js service, as its events come and go. Moves messages, and decides nothing.
// Never throws: whatever goes wrong in here refuses the call with GUARD_FAULT, and the process lives.
import {
  AUTHORIZATION_HEADER,
  BREVET_HEADER_PREFIX,
  type EncodedStatus,
  GRANT_HEADER,
  GrpcCode,
  systemClock,
  TRACEPARENT_HEADER,
  traceIdOf,
  WINDOW_ENDS_TRAILER,
} from "@brevet/protocol";
import {
  Metadata,
  type MetadataValue,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerMethodDefinition,
} from "@grpc/grpc-js";
import type { EnforcedCall } from "../enforcement/call.ts";
import type { Enforcement } from "../enforcement/enforcement.ts";
import type { CallPort } from "../enforcement/port.ts";
import { certificateOf } from "./certificate.ts";
import { type SentStatus, statusObject } from "./denied.ts";
import { answerBytes, closeUnread, repeatedAuthorization, takeBytes } from "./wire.ts";

type Definition = ServerMethodDefinition<unknown, unknown>;

const NO_VALUES: readonly string[] = [];

/** The call as the handler gets it. */
export function guardedCall(
  enforcement: Enforcement,
  definition: Definition,
  call: ServerInterceptingCallInterface,
): ServerInterceptingCall {
  return new GrpcCall(enforcement, definition, call).handed;
}

/** Lets the guard read ahead of the handler: what came of it is kept until the handler asks for its first message. */
class HeldCall extends ServerInterceptingCall {
  #kept: (() => void) | undefined;

  readAhead(): void {
    super.startRead();
  }

  keep(message: () => void): void {
    this.#kept = message;
  }

  override startRead(): void {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept === undefined) super.startRead();
    else kept();
  }
}

class GrpcCall implements CallPort {
  readonly handed: HeldCall;
  readonly #enforcement: Enforcement;
  readonly #definition: Definition;
  readonly #call: ServerInterceptingCallInterface;
  #enforced: EnforcedCall | undefined;
  #metadata: Metadata | undefined;
  /** Names in the metadata, where some were taken off. */
  #seen: readonly string[] | undefined;
  #release: ((metadata: Metadata) => void) | undefined;
  #permitted = false;
  #takeBytes: (() => Uint8Array | undefined) | undefined;

  constructor(enforcement: Enforcement, definition: Definition, call: ServerInterceptingCallInterface) {
    this.#enforcement = enforcement;
    this.#definition = definition;
    this.#call = call;
    this.handed = new HeldCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, release) => this.#onMetadata(metadata, release),
          onReceiveMessage: (message, release) => this.#enforced?.request(this.#takeBytes?.(), () => this.#handOn(release, message)),
          onReceiveHalfClose: (release) => this.#enforced?.halfClose(release),
          onCancel: () => this.#enforced?.ended(GrpcCode.CANCELLED),
        }),
      ...(definition.requestStream || definition.responseStream
        ? { sendMessage: (message: unknown, next: (message: unknown) => void) => this.#enforced?.response(() => next(message)) }
        : undefined),
      sendMetadata: (metadata, next) => next(withoutOurs(metadata)),
      sendStatus: (sent, next) => {
        const passed = this.#onStatus(sent);
        if (passed !== undefined) next(passed);
      },
    });
  }

  readAhead(): boolean {
    this.#takeBytes ??= takeBytes(this.#call);
    if (this.#takeBytes === undefined) return false;
    this.handed.readAhead();
    return true;
  }

  permit(): void {
    this.#permitted = true;
    this.#release?.(this.#stripped());
  }

  answer(message: Uint8Array): boolean {
    return answerBytes(this.#call, message);
  }

  /** Straight to the network. */
  refuse(status: EncodedStatus): void {
    // Of no effect where the handler has sent its own.
    if (this.#permitted) this.#call.sendMetadata(new Metadata());
    this.#call.sendStatus(statusObject(status));
    if (this.#permitted) closeUnread(this.#call);
  }

  #onMetadata(metadata: Metadata, release: (metadata: Metadata) => void): void {
    try {
      this.#metadata = metadata;
      this.#release = release;
      // Of a stream from the start: a condition may come later, and what has arrived by then could not be told from what has not.
      if (this.#definition.requestStream) this.#takeBytes = takeBytes(this.#call);
      this.#enforced = this.#enforcement.call(this.#incoming(metadata), this);
      this.#enforced.begin();
    } catch (error) {
      if (this.#enforced === undefined) this.#call.sendStatus(statusObject(this.#enforcement.faulty(error)));
      else this.#enforced.fault(error);
    }
  }

  #incoming(metadata: Metadata) {
    const call = this.#call;
    const { path, requestStream, responseStream } = this.#definition;
    const seen = () => this.#seen;
    return {
      method: path.slice(1),
      requestStream,
      responseStream,
      authorization: repeatedAuthorization(call) ?? texts(metadata.get(AUTHORIZATION_HEADER)),
      grants: texts(metadata.get(GRANT_HEADER)),
      certificate: () => certificateOf(call),
      // Looked at where a call is refused, and for nothing otherwise.
      get peer() {
        return peerOf(call.getConnectionInfo());
      },
      get headersSeen() {
        return seen() ?? Object.keys(metadata.getMap());
      },
      get traceId() {
        return traceIdOf(metadata.get(TRACEPARENT_HEADER));
      },
      get deadlineMs() {
        return leftOf(call.getDeadline());
      },
    };
  }

  #handOn(release: (message: unknown) => void, message: unknown): void {
    if (this.#permitted) release(message);
    else this.handed.keep(() => release(message));
  }

  /** What a handler may see of the metadata. */
  #stripped(): Metadata {
    const metadata = this.#metadata ?? new Metadata();
    const ours = oursIn(metadata);
    if (ours.length > 0) this.#seen = Object.keys(metadata.getMap());
    for (const name of ours) metadata.remove(name);
    return metadata;
  }

  /** The handler's status, with the trailer; nothing where the call is over already. */
  #onStatus(sent: SentStatus): SentStatus | undefined {
    const enforced = this.#enforced;
    if (enforced === undefined) return sent;
    if (enforced.over) return undefined;
    enforced.ended(sent.code ?? GrpcCode.UNKNOWN);
    const { windowEnds } = enforced;
    try {
      const said = sent.metadata == null ? undefined : withoutOurs(sent.metadata);
      if (windowEnds === undefined) return said === undefined ? sent : { ...sent, metadata: said };
      const metadata = said?.clone() ?? new Metadata();
      metadata.set(WINDOW_ENDS_TRAILER, windowEnds);
      return { ...sent, metadata };
    } catch {
      // Whatever the handler gave for metadata is its own affair.
      return sent;
    }
  }
}

/** What is left of a deadline, on the clock that grpc-js made it with. */
function leftOf(deadline: Date | number): number | undefined {
  const atMs = Number(deadline);
  return Number.isFinite(atMs) ? Math.max(0, atMs - systemClock.wallMs()) : undefined;
}

/** A Unix socket has neither. */
function peerOf({ remoteAddress = "", remotePort }: ReturnType<ServerInterceptingCallInterface["getConnectionInfo"]>): string {
  return remotePort === undefined ? remoteAddress : `${remoteAddress}#${remotePort}`;
}

/** Names that a guard alone may say. */
function oursIn(metadata: Metadata): readonly string[] {
  return Object.keys(metadata.getMap()).filter((name) => name.startsWith(BREVET_HEADER_PREFIX));
}

/** Metadata of a handler, for the caller. */
function withoutOurs(metadata: Metadata): Metadata {
  const ours = oursIn(metadata);
  if (ours.length === 0) return metadata;
  const rest = metadata.clone();
  for (const name of ours) rest.remove(name);
  return rest;
}

function texts(values: readonly MetadataValue[] | undefined): readonly string[] {
  if (values === undefined || values.length === 0) return NO_VALUES;
  return values.filter((value) => typeof value === "string");
}
