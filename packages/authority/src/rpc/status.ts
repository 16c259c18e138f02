// Refusals and faults on their way out: a Denial becomes a gRPC status with its details, within the budget that all clients survive; what
// nobody foresaw becomes INTERNAL without a word of what it was. Never decides.
import { type Denial, encodeDenial, RETRY_PUSHBACK_TRAILER } from "@brevet/protocol";
import { StatusSchema } from "@brevet/protocol/google/rpc/status";
import { fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { Answer } from "../elevation/caller.ts";
import { PolicyBehind } from "../elevation/policies.ts";
import { StoreError } from "../store/store.ts";
import { Refused } from "../watch/refused.ts";

// Connect's codes are gRPC's.
const codes = new Map<number, Code>(Object.values(Code).flatMap((code) => (typeof code === "number" ? [[code, code] as const] : [])));

/** A denial as Connect sends it: message and details are those of {@link encodeDenial}. */
export function denialError(denial: Denial): ConnectError {
  const { code, message, details, pushback } = encodeDenial(denial);
  const error = new ConnectError(
    message,
    codes.get(code) ?? Code.Unknown,
    pushback === undefined ? {} : { [RETRY_PUSHBACK_TRAILER]: pushback },
  );
  error.details = fromBinary(StatusSchema, details).details.map(({ typeUrl, value }) => ({
    type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
    value,
  }));
  return error;
}

/** The value of an answer. Throws its refusal. */
export function valueOf<T>(answer: Answer<T>): T {
  if (answer.ok) return answer.value;
  throw new Refused(answer.denial);
}

/** Refuses a field of a request. */
export function invalidField(field: string, problem: string): Refused {
  const metadata = { field, problem };
  return new Refused({
    reason: "REQUEST_INVALID",
    message: `${field}: ${problem}`,
    metadata,
    fieldViolations: [{ field, description: problem }],
  });
}

/** What a caller is told of whatever a call threw. */
export function errorFor(error: unknown, method: string, logger: Logger): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof Refused) {
    const { reason, metadata } = error.denial;
    logger.info({ method, reason, principal: metadata["principal"], elevation: metadata["elevation"] }, "refused");
    return denialError({ ...error.denial, metadata: { method, ...metadata } });
  }
  if (error instanceof PolicyBehind) {
    logger.warn({ method, err: error }, "a policy is not loaded");
    return denialError({
      reason: "POLICY_UNAVAILABLE",
      message: "the policy is not loaded yet; try again",
      metadata: { method },
      retryDelayMs: 1000,
    });
  }
  if (error instanceof StoreError && error.code !== "corrupt") {
    logger.error({ method, err: error }, "the store did not answer");
    const message = "the authority's store cannot be written or read now; nothing was changed; try again";
    return denialError({ reason: "AUTHORITY_UNREACHABLE", message, metadata: { method }, retryDelayMs: 1000 });
  }
  logger.error({ method, err: error }, "a call failed");
  return new ConnectError("the authority failed; its log says why", Code.Internal);
}

/** Makes {@link errorFor} of everything that a call or its stream throws. */
export function translateErrors(logger: Logger): Interceptor {
  return (next) => async (request) => {
    const method = `${request.service.typeName}/${request.method.name}`;
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: translated(response.message, (error) => errorFor(error, method, logger)) };
    } catch (error) {
      throw errorFor(error, method, logger);
    }
  };
}

async function* translated<T>(messages: AsyncIterable<T>, translate: (error: unknown) => ConnectError): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw translate(error);
  }
}
