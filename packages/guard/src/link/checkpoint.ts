// The newest checkpoint of the log that a guard holds, and whether the log goes on from it.
// Owns what is refused without proofs: another signer, a shorter log, another root of as many entries. Never talks.
import { openCheckpoint, parseVerifier } from "@brevet/protocol";

/** Where a guard stands in the log. */
export interface HeldPosition {
  readonly epoch: string;
  readonly revision: bigint;
}

/** The log is no successor of what this guard knows: nothing of it is taken in. */
export class RefusedLog extends Error {
  readonly fix =
    "find out whether the authority lost entries or was replaced, and start it again with the data directory that it had. If this log is the right one, start the guard again without its state";
}

/** The checkpoint held, and the key that it was signed with when the guard first saw a log of its epoch. */
export class HeldCheckpoint {
  #note = "";
  #pin = "";

  /** A signed note; empty before the first. */
  get note(): string {
    return this.#note;
  }

  /** Verifier key of the epoch's checkpoints; empty while not known. */
  get pin(): string {
    return this.#pin;
  }

  /** The root of the log at this position, where the checkpoint held is of it. */
  rootAt({ epoch, revision }: HeldPosition): Uint8Array | undefined {
    const held = openCheckpoint(this.#note)?.checkpoint;
    return held?.origin === originOf(epoch) && held.size === revision ? held.root : undefined;
  }

  /** Goes on from what was kept over a restart. */
  restore(note: string, pin: string): void {
    this.#note = note;
    this.#pin = pin;
  }

  /**
   * Why the log that shows `note` is no successor of what is known; undefined where it may be one. Another epoch begins anew, and is a
   * matter for an alarm, not for a refusal: a restore revokes everything.
   */
  problemOf(note: string, epoch: string, known: HeldPosition | undefined): string | undefined {
    const held = openCheckpoint(this.#note)?.checkpoint;
    if (note === "") return held !== undefined && known?.epoch === epoch ? "it shows no checkpoint any more" : undefined;
    const verifier = this.#pin === "" ? undefined : parseVerifier(this.#pin);
    const opened = openCheckpoint(note, verifier);
    if (opened === undefined) return "its checkpoint cannot be read";
    const { origin, size, root } = opened.checkpoint;
    if (origin !== originOf(epoch)) return `its checkpoint is of ${origin}, and its epoch is ${epoch}`;
    if (known?.epoch !== epoch) return undefined;
    if (verifier !== undefined && !opened.signed) return "its checkpoint is not signed with the key that this guard has seen before";
    if (size < known.revision) return `it has ${size} entries, and this guard knows ${known.revision} of it`;
    if (held?.origin !== origin) return undefined;
    if (size < held.size) return `it has ${size} entries, and had ${held.size}`;
    if (size === held.size && Buffer.compare(root, held.root) !== 0) return `its ${size} entries are not those that this guard has seen`;
    return undefined;
  }

  /** Holds a checkpoint in which {@link problemOf} found nothing. The first of an epoch loses the key of the one before. */
  hold(note: string): void {
    if (note === "") return;
    if (openCheckpoint(this.#note)?.checkpoint.origin !== openCheckpoint(note)?.checkpoint.origin) this.#pin = "";
    this.#note = note;
  }

  /** Believes in a key from now on, if the checkpoint held is signed with it. */
  trust(verifierKey: string): boolean {
    const verifier = parseVerifier(verifierKey);
    if (verifier === undefined || openCheckpoint(this.#note, verifier)?.signed !== true) return false;
    this.#pin = verifierKey;
    return true;
  }
}

function originOf(epoch: string): string {
  return `brevet/${epoch}`;
}
