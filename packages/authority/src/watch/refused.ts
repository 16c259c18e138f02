// A refusal on its way out of a stream or a call, as an exception: the rpc layer makes a gRPC status of it. Never decides one.
import type { Denial } from "@brevet/protocol";

/** Ends a stream with a refusal. */
export class Refused extends Error {
  readonly denial: Denial;

  constructor(denial: Denial) {
    super(denial.message);
    this.name = "Refused";
    this.denial = denial;
  }
}

/** The authority is going away: connect again, perhaps to another replica, and resume. */
export function draining(): Refused {
  return unavailable("the authority is draining; connect again and resume");
}

/** A reader did not keep up. */
export function tooSlow(): Refused {
  return unavailable("too much waits to be read on this stream; connect again and resume");
}

function unavailable(message: string): Refused {
  return new Refused({ reason: "AUTHORITY_UNREACHABLE", message, metadata: {}, retryDelayMs: 100 });
}

/** What a stream's caller presented has reached its end. A fresh identity resumes; a stale one is then told what is wrong with it. */
export function identityEnded(): Refused {
  return unavailable("the identity that opened this stream has ended; connect again with a fresh one and resume");
}
