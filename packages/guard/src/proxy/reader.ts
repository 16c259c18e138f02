// One direction of a call, message by message: split, decompressed where the bytes are needed, handed out one at a time, in order.
// Owns the pace: while one is judged no other is looked at, and the sender is held back by flow control. Never judges.
import { type EncodedStatus, GrpcCode } from "@brevet/protocol";
import { type Decompressed, decompress } from "./decompress.ts";
import { MessageSplitter, type WireMessage } from "./messages.ts";
import { plainStatus } from "./status.ts";

/** What a reader is made with. */
export interface ReaderOptions {
  /** `grpc-encoding` of the call. */
  readonly encoding: string;
  /** Of one message that is held as a whole, before and after decompression. */
  readonly maxBytes: number;
  /** Whether the bytes of messages are needed. A larger message is broken then; else it passes in the chunks that it comes in. */
  readonly reads: () => boolean;
  /** A message, or the first part of a large one: its bytes after decompression where they are needed, and the frame that it came in. */
  readonly message: (bytes: Buffer | undefined, frame: Buffer) => void;
  /** A message whose bytes are needed and cannot be had, or the first part of one. True: it was taken as {@link message} takes one. */
  readonly unread?: (why: EncodedStatus, frame: Buffer) => boolean;
  /** More of a large message. */
  readonly more: (chunk: Buffer) => void;
  /** The sender sends no more. */
  readonly ended: () => void;
  /** What came is no message that can be read. */
  readonly broken: (status: EncodedStatus) => void;
  /** {@link MessageReader.busy} changed. */
  readonly paced: () => void;
}

/** Reads one direction of one call. */
export class MessageReader {
  readonly #options: ReaderOptions;
  readonly #splitter: MessageSplitter;
  /** Bytes of a large message that are still to come. */
  #passing = 0;
  #busy = false;
  #paced = false;
  #looping = false;
  #ended = false;
  #stopped = false;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#splitter = new MessageSplitter(options.maxBytes);
  }

  /** Whether a message is in hand: no bytes are wanted. */
  get busy(): boolean {
    return this.#busy;
  }

  /** Whether more of a large message is to come, or to be handed on. */
  get passing(): boolean {
    return this.#passing > 0;
  }

  push(chunk: Buffer): void {
    this.#splitter.push(chunk);
    this.#read();
  }

  /** The sender sends no more. */
  end(): void {
    this.#ended = true;
    this.#read();
  }

  /** The message that was handed out has passed: on to the next. */
  next(): void {
    this.#busy = false;
    this.#read();
  }

  /** Reads no more; answers what was not handed out, and whether the sender had ended. */
  stop(): { readonly rest: readonly Buffer[]; readonly ended: boolean } {
    this.#stopped = true;
    return { rest: this.#splitter.rest(), ended: this.#ended };
  }

  /** A loop, since one chunk may hold thousands of messages, each of which is often handed on at once. */
  #read(): void {
    if (this.#looping) return;
    this.#looping = true;
    try {
      while (!this.#busy && !this.#stopped && this.#step());
    } finally {
      this.#looping = false;
    }
    if (this.#stopped || this.#busy === this.#paced) return;
    this.#paced = this.#busy;
    this.#options.paced();
  }

  /** Hands out the next message; false: there is none, for now or ever. */
  #step(): boolean {
    const { maxBytes, reads, ended, broken } = this.#options;
    this.#pass();
    const message = this.#passing > 0 ? undefined : this.#splitter.next();
    if (message === undefined) {
      if (!this.#ended) return false;
      this.#stopped = true;
      if (this.#splitter.held === 0 && this.#passing === 0) ended();
      else broken(plainStatus(GrpcCode.INTERNAL, "what was sent ended within a message"));
      return false;
    }
    this.#busy = true;
    if ("problem" in message) {
      if (message.problem === "bad flag") broken(plainStatus(GrpcCode.INTERNAL, "a message has an unknown flag"));
      else {
        this.#passing = message.bytes;
        const prefix = this.#splitter.prefix();
        if (reads()) this.#unread(overSize(message.bytes, maxBytes), prefix);
        else this.#options.message(undefined, prefix);
      }
    } else if (reads()) decompress(message, this.#options.encoding, maxBytes, (result) => this.#onBytes(message, result));
    else this.#options.message(undefined, message.frame);
    return true;
  }

  /** What has come of a large message. */
  #pass(): void {
    while (this.#passing > 0) {
      const chunk = this.#splitter.some(this.#passing);
      if (chunk === undefined) return;
      this.#passing -= chunk.length;
      this.#options.more(chunk);
    }
  }

  #onBytes(message: WireMessage, result: Decompressed): void {
    if (this.#stopped) return;
    const { maxBytes, encoding } = this.#options;
    const { frame } = message;
    if (result.ok) return this.#options.message(result.bytes, frame);
    if (result.problem === "too large") return this.#unread(overSize(undefined, maxBytes), frame);
    if (result.problem === "broken") return this.#unread(plainStatus(GrpcCode.INTERNAL, "a message cannot be decompressed"), frame);
    const unknown = `the guard has to read this request, and does not know the encoding ${encoding.slice(0, 40)}`;
    this.#unread(plainStatus(GrpcCode.UNIMPLEMENTED, unknown), frame);
  }

  #unread(why: EncodedStatus, frame: Buffer): void {
    if (this.#options.unread?.(why, frame) !== true) this.#options.broken(why);
  }
}

function overSize(bytes: number | undefined, maxBytes: number): EncodedStatus {
  const came = bytes === undefined ? "after decompression" : `of ${bytes} bytes`;
  return plainStatus(GrpcCode.RESOURCE_EXHAUSTED, `a message ${came} is larger than the ${maxBytes} that the guard reads`);
}
