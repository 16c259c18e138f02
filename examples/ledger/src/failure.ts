// Says what a failed call's status holds: code, message, and the details that Brevet put into it.
import { readStatus } from "@brevet/protocol";
import { ElevationRequiredSchema } from "@brevet/protocol/brevet/v1/error";
import { type JsonValue, toJson } from "@bufbuild/protobuf";
import { type ServiceError, status } from "@grpc/grpc-js";

/** As printed. */
export interface Failure {
  readonly code: number;
  readonly codeName: string;
  readonly message: string;
  /** Of Brevet's catalogue; absent where the ledger itself said no. */
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly help?: readonly { readonly description: string; readonly url: string }[];
  /** What may be asked for. */
  readonly offer?: JsonValue;
}

/** Reads the error of a call; undefined if it is none. */
export function describeFailure(error: unknown): Failure | undefined {
  if (!isServiceError(error)) return undefined;
  const [details] = error.metadata.get("grpc-status-details-bin");
  const { code, message, reason, metadata, help, offer } = readStatus(
    error.code,
    error.details,
    typeof details === "string" ? undefined : details,
  );
  return {
    code,
    codeName: status[code] ?? String(code),
    message,
    ...(reason === undefined ? {} : { reason, metadata }),
    ...(help.length === 0 ? {} : { help }),
    ...(offer === undefined ? {} : { offer: toJson(ElevationRequiredSchema, offer) }),
  };
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error && "metadata" in error;
}
