// The guard for @grpc/grpc-js: an interceptor that stands first in front of a server's handlers.
// Owns nothing but the form; what it enforces is in enforcement/, the rules in core/, the authority behind link/.
import {
  status as code,
  type Server,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from "@grpc/grpc-js";
import { Enforcement, type GuardOptions, type GuardState } from "../enforcement/enforcement.ts";
import { guardedCall } from "./call.ts";
import { probeDefinition, probeImplementation } from "./probe.ts";
import { watchAuthorization } from "./wire.ts";

export type { GuardOptions, GuardState } from "../enforcement/enforcement.ts";
export type { DecisionEvent } from "../enforcement/record.ts";
export type { GuardTls, IdentitySource } from "../link/connection.ts";
export { type GuardLogger, jsonLogger } from "../log/logger.ts";
export { fromFile } from "./source.ts";

/** A guard in front of a grpc-js server. */
export interface Guard extends AsyncDisposable {
  /** To stand first in the server's `interceptors`. */
  readonly interceptor: ServerInterceptor;
  /** Has a server answer `brevet doctor`, which asks what arrives here: names of metadata, clock, policy, keys. Wants an identity, no elevation. */
  addProbe(server: Pick<Server, "addService">): void;
  /** Resolves once there is a policy to decide by; until then calls get UNAVAILABLE. Rejects when aborted or closed first. */
  ready(signal?: AbortSignal): Promise<void>;
  status(): GuardState;
  /** Reports what is left and disconnects. Calls are decided on what is known, as long as the policy allows. */
  close(): Promise<void>;
}

/** Guards a service: connects to the authority at once, and goes on until closed. @throws TypeError for an address that may not be used. */
export function guard(options: GuardOptions): Guard {
  const enforcement = new Enforcement(options, "grpc");
  watchAuthorization();
  const close = () => enforcement.close();
  return {
    interceptor: interceptorOf(enforcement),
    addProbe: (server) => server.addService(probeDefinition, probeImplementation),
    ready: (signal) => enforcement.ready(signal),
    status: () => enforcement.status(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function interceptorOf(enforcement: Enforcement): ServerInterceptor {
  return (definition, call) => {
    try {
      return guardedCall(enforcement, definition, call);
    } catch {
      return refusedCall(call);
    }
  };
}

/** Not even the guard of this one call could be made. */
function refusedCall(call: ServerInterceptingCallInterface): ServerInterceptingCall {
  return new ServerInterceptingCall(call, {
    start: () => call.sendStatus({ code: code.INTERNAL, details: "GUARD_FAULT: the guard itself failed, and refused the call to be safe" }),
  });
}
