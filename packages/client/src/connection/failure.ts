// What went wrong between this program and the authority, as errors that tell a refusal from an outage.
import { GrpcCode, type ReceivedStatus, readStatus, sanitise } from "@brevet/protocol";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { create, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";

/** The identity source gave no token. */
export class IdentityFailure extends Error {
  override readonly name = "IdentityFailure";

  constructor(audience: string, cause: unknown) {
    super(`no identity token for ${audience}: ${sanitise(cause instanceof Error ? cause.message : String(cause), 200)}`, { cause });
  }
}

/** The authority refused a call, or did not answer it. */
export class AuthorityError extends Error {
  override readonly name = "AuthorityError";
  /** What it answered; without a reason where nobody answered. */
  readonly received: ReceivedStatus;
  /** Worth another try: nobody answered, or the one who did is going away. */
  readonly transient: boolean;

  constructor(received: ReceivedStatus, options?: ErrorOptions) {
    super(received.message, options);
    this.received = received;
    this.transient = isTransient(received);
  }

  /** Reads what a call threw. An {@link IdentityFailure} underneath comes out as it is: the authority has no part in it. */
  static from(error: unknown): AuthorityError | IdentityFailure {
    if (error instanceof AuthorityError) return error;
    const failure = ConnectError.from(error);
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) if (cause instanceof IdentityFailure) return cause;
    const { code, rawMessage: message } = failure;
    const details = failure.details.flatMap((detail) =>
      "desc" in detail ? [] : [{ typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value }],
    );
    const bytes = toBinary(StatusSchema, create(StatusSchema, { code, message, details }));
    return new AuthorityError(readStatus(code, message, bytes), { cause: error });
  }
}

const OUTAGES: ReadonlySet<number> = new Set([
  GrpcCode.CANCELLED,
  GrpcCode.UNKNOWN,
  GrpcCode.DEADLINE_EXCEEDED,
  GrpcCode.ABORTED,
  GrpcCode.INTERNAL,
  GrpcCode.UNAVAILABLE,
]);

/** Whether a status tells of an outage. A broken connection shows under several codes, but never with a reason. */
function isTransient({ code, reason }: ReceivedStatus): boolean {
  return reason === undefined ? OUTAGES.has(code) : code === GrpcCode.UNAVAILABLE;
}
