// What a program has sent over a call that takes a stream of messages, kept in the bytes that it was sent as for as long as the call may have to
// be issued again. Owns order and back-pressure: one message at a time, the next when the call below has taken the one before.
// Never decides whether a call is issued again.
import type { InterceptorOptions, NextCall } from "@grpc/grpc-js";

/** What grpc-js calls a call, as interceptors stack them. */
export type InnerCall = ReturnType<NextCall>;
export type MessageContext = Parameters<InnerCall["sendMessageWithContext"]>[0];
export type Serialise = InterceptorOptions["method_definition"]["requestSerialize"];

/** How much is kept. */
export interface BufferLimit {
  readonly messages: number;
  /** Of the messages as they go over the wire, without gRPC's five bytes before each. */
  readonly bytes: number;
}

interface Entry {
  readonly message: unknown;
  /** Undefined where it could not be coded: the call below says so when it is sent. */
  readonly bytes: Buffer | undefined;
  readonly flags: number | undefined;
  /** Tells the program that it may go on; undefined once it is told. */
  callback: MessageContext["callback"] | undefined;
}

/** See the head of this file. */
export class Outbox {
  readonly #limit: BufferLimit;
  readonly #serialise: Serialise;
  /** Kept, and to be sent. The first `#sent` of them were. */
  #entries: Entry[] = [];
  #sent = 0;
  #messages = 0;
  #bytes = 0;
  #whole: boolean;
  #keeps: boolean;
  #inner: InnerCall | undefined;
  /** Where messages go as they come: nothing is kept any more, and nothing waits. */
  #through: InnerCall | undefined;
  /** Given to the call below, which has not taken it yet. */
  #writing: Entry | undefined;
  #halfClosed = false;
  #endedBelow = false;
  #over = false;

  /** `keeps`: whether the call may be issued again at all. `serialise` is the method's own. */
  constructor(limit: BufferLimit, serialise: Serialise, keeps: boolean) {
    this.#limit = limit;
    this.#serialise = serialise;
    this.#whole = keeps;
    this.#keeps = keeps;
  }

  /** Whether all that was sent is still here. */
  get whole(): boolean {
    return this.#whole;
  }

  /** Takes a message. Where it fits into the buffer the program may go on at once; otherwise when the call below has taken it. */
  write(context: MessageContext, message: unknown): void {
    if (this.#through !== undefined) return this.#through.sendMessageWithContext(context, message);
    const { callback, flags } = context;
    const entry: Entry = { message, bytes: this.#keeps ? this.#coded(message) : undefined, flags, callback };
    if (this.#over) return later(entry);
    if (this.#keeps) this.#count(entry);
    this.#entries.push(entry);
    if (this.#inner !== undefined && this.#writing === undefined) this.#next();
    else if (this.#whole) later(entry);
  }

  halfClose(): void {
    this.#halfClosed = true;
    this.#endBelow();
  }

  /** Sends what is here, and what comes, over this call. `keep`: it may be refused, and all is wanted again then. */
  open(inner: InnerCall, keep: boolean): void {
    this.#inner = inner;
    this.#endedBelow = false;
    if (!keep) this.#whole = false;
    this.#keeps = this.#whole;
    this.#next();
  }

  /** The call was refused. All is kept for the next one; writers go on for as long as there is room. */
  close(): void {
    this.#inner = undefined;
    this.#writing = undefined;
    this.#sent = 0;
    if (this.#whole) for (const entry of this.#entries) tell(entry);
  }

  /** The call was admitted: what was sent is not wanted again. */
  release(): void {
    this.#keeps = false;
    this.#whole = false;
    this.#forget();
    if (this.#inner !== undefined && this.#writing === undefined && this.#entries.length === 0) this.#through = this.#inner;
  }

  /** The call is over. Nobody waits on for room that never comes. */
  end(): void {
    const left = this.#writing === undefined ? this.#entries : [this.#writing, ...this.#entries];
    this.#over = true;
    this.#keeps = false;
    this.#entries = [];
    this.#inner = undefined;
    this.#through = undefined;
    this.#writing = undefined;
    for (const entry of left) tell(entry);
  }

  /** The bytes of the message that is being sent, if this is it. */
  bytesOf(message: unknown): Buffer | undefined {
    return this.#writing?.message === message ? this.#writing?.bytes : undefined;
  }

  #next(): void {
    const inner = this.#inner;
    if (inner === undefined) return;
    const entry = this.#entries[this.#sent];
    if (entry === undefined) {
      if (!this.#keeps) this.#through = inner;
      return this.#endBelow();
    }
    this.#sent += 1;
    if (!this.#keeps) this.#forget();
    this.#writing = entry;
    const callback = (error?: Error | null) => {
      const isCurrent = this.#inner === inner && this.#writing === entry;
      if (isCurrent) this.#writing = undefined;
      // The program may send its next one from in here.
      tell(entry, error);
      if (isCurrent && this.#inner === inner && this.#writing === undefined) this.#next();
    };
    inner.sendMessageWithContext(entry.flags === undefined ? { callback } : { callback, flags: entry.flags }, entry.message);
  }

  /** Once everything is sent; from inside the callback of the last message as well as later. */
  #endBelow(): void {
    const isSent = this.#writing === undefined && this.#sent === this.#entries.length;
    if (this.#inner === undefined || !this.#halfClosed || this.#endedBelow || !isSent) return;
    this.#endedBelow = true;
    this.#inner.halfClose();
  }

  #count({ bytes }: Entry): void {
    this.#messages += 1;
    this.#bytes += bytes?.length ?? 0;
    if (this.#messages <= this.#limit.messages && this.#bytes <= this.#limit.bytes) return;
    this.#whole = false;
    // Before there is a call nothing of it is lost.
    if (this.#inner === undefined) return;
    this.#keeps = false;
    this.#forget();
  }

  /** Lets go of what was sent. */
  #forget(): void {
    this.#entries = this.#entries.slice(this.#sent);
    this.#sent = 0;
  }

  #coded(message: unknown): Buffer | undefined {
    try {
      return owned(this.#serialise(message), message);
    } catch {
      return undefined;
    }
  }
}

/** The bytes, apart from the program's own: whoever sends bytes as they are may fill them anew once they are taken. */
export function owned(bytes: Buffer, message: unknown): Buffer {
  return ArrayBuffer.isView(message) && message.buffer === bytes.buffer ? Buffer.from(bytes) : bytes;
}

function tell(entry: Entry, error?: Error | null): void {
  const { callback } = entry;
  entry.callback = undefined;
  callback?.(error);
}

/** As grpc-js does: not from inside the call that brought the message. */
function later(entry: Entry): void {
  if (entry.callback !== undefined) process.nextTick(tell, entry);
}
