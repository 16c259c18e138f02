// gRPC's length-prefixed messages out of a stream of chunks (gRPC over HTTP/2, Length-Prefixed-Message).
// Never copies a message that lies within one chunk, and never decodes one.

/** One message as it came. */
export interface WireMessage {
  /** With its five bytes in front. */
  readonly frame: Buffer;
  readonly compressed: boolean;
  /** Without them. */
  readonly payload: Buffer;
}

/** Why there is no further message: too large, or not gRPC's form. */
export interface BadMessage {
  readonly problem: "too large" | "bad flag";
  /** Its declared size. */
  readonly bytes: number;
}

const PREFIX_BYTES = 5;
const SMALL_BYTES = 1024;
const PAGE_BYTES = 16 << 10;
const NO_PAGE = Buffer.alloc(0);

/** Cuts the payload out only where it is asked for: most messages pass as they came. */
class Frame implements WireMessage {
  readonly frame: Buffer;
  readonly compressed: boolean;

  constructor(frame: Buffer, compressed: boolean) {
    this.frame = frame;
    this.compressed = compressed;
  }

  get payload(): Buffer {
    return this.frame.subarray(PREFIX_BYTES);
  }
}

/** Takes chunks, gives messages one at a time. */
export class MessageSplitter {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #held = 0;
  /** What small chunks are copied into, and how much of it is in use. */
  #page: Buffer = NO_PAGE;
  #used = 0;

  /** `maxBytes`: of one message, without its prefix. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes that were pushed and not taken. */
  get held(): number {
    return this.#held;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#held += chunk.length;
    const last = this.#chunks.at(-1);
    if (last === undefined || chunk.length > SMALL_BYTES) return void this.#chunks.push(chunk);
    // Copied: each buffer costs more than a small chunk holds, and a caller may send four million of one byte.
    const inPage = last.buffer === this.#page.buffer;
    if (!inPage || this.#used + chunk.length > PAGE_BYTES) {
      this.#page = Buffer.allocUnsafeSlow(PAGE_BYTES);
      this.#used = 0;
    }
    const goesOn = inPage && this.#used > 0;
    const from = goesOn ? last.byteOffset : this.#used;
    chunk.copy(this.#page, this.#used);
    this.#used += chunk.length;
    if (goesOn) this.#chunks.pop();
    this.#chunks.push(this.#page.subarray(from, this.#used));
  }

  /** The next whole message; undefined: more has to come first. */
  next(): WireMessage | BadMessage | undefined {
    if (this.#held < PREFIX_BYTES) return undefined;
    const head = this.#front(PREFIX_BYTES);
    const flag = head[0];
    const bytes = head.readUInt32BE(1);
    if (flag !== 0 && flag !== 1) return { problem: "bad flag", bytes };
    if (bytes > this.#maxBytes) return { problem: "too large", bytes };
    if (this.#held < PREFIX_BYTES + bytes) return undefined;
    const frame = this.#take(PREFIX_BYTES + bytes);
    return new Frame(frame, flag === 1);
  }

  /** The five bytes before a message that is too large to be taken as a whole. */
  prefix(): Buffer {
    return this.#take(PREFIX_BYTES);
  }

  /** What has come of the next so many bytes, as far as it is in one chunk; undefined: nothing. */
  some(bytes: number): Buffer | undefined {
    const first = this.#chunks[0];
    return first === undefined ? undefined : this.#take(Math.min(bytes, first.length));
  }

  /** All that is left, in chunks. */
  rest(): readonly Buffer[] {
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#held = 0;
    return chunks;
  }

  /** The first chunk, made to hold so many bytes at least. Joins no more than that needs: a message may come in a thousand chunks. */
  #front(bytes: number): Buffer {
    let first = this.#chunks[0] ?? Buffer.alloc(0);
    while (first.length < bytes && this.#chunks.length > 1) {
      first = Buffer.concat(this.#chunks.splice(0, 2));
      this.#chunks.unshift(first);
    }
    return first;
  }

  #take(bytes: number): Buffer {
    const first = this.#chunks[0];
    this.#held -= bytes;
    if (first !== undefined && first.length > bytes) {
      this.#chunks[0] = first.subarray(bytes);
      return first.subarray(0, bytes);
    }
    if (first !== undefined && first.length === bytes) {
      this.#chunks.shift();
      return first;
    }
    const all = Buffer.concat(this.#chunks);
    this.#chunks = all.length === bytes ? [] : [all.subarray(bytes)];
    return all.subarray(0, bytes);
  }
}
