// Who makes a call: authenticated before its body is read, refused otherwise. Says nothing of what the caller may do.
import { type ContextValues, createContextKey, createContextValues, type HandlerContext } from "@connectrpc/connect";
import type { Logger } from "pino";
import type { Credentials } from "../identity/credentials.ts";
import type { AuthenticatedCaller, Identities } from "../identity/identity.ts";
import { draining, Refused } from "../watch/refused.ts";
import { errorFor } from "./status.ts";

const credentialsKey = createContextKey<Credentials>({ authorization: [], headersSeen: [] }, { description: "what the caller presented" });
const callerKey = createContextKey<AuthenticatedCaller | undefined>(undefined, { description: "who calls" });

/** Carries what a request presented to the gate. */
export function presented(credentials: Credentials): ContextValues {
  return createContextValues().set(credentialsKey, credentials);
}

/** A gate that lets authenticated callers in, and nobody once the authority drains. */
export function authenticationGate(options: { readonly identities: Identities; readonly drain: AbortSignal; readonly logger: Logger }) {
  const { identities, drain, logger } = options;
  return async (context: HandlerContext): Promise<void> => {
    const method = `${context.service.typeName}/${context.method.name}`;
    try {
      if (drain.aborted) throw draining();
      const authentication = await identities.authenticate(context.values.get(credentialsKey));
      if (!authentication.ok) throw new Refused(authentication.denial);
      context.values.set(callerKey, authentication.caller);
    } catch (error) {
      throw errorFor(error, method, logger);
    }
  };
}

/** The caller of a call that passed the gate. */
export function callerOf(context: HandlerContext): AuthenticatedCaller {
  const caller = context.values.get(callerKey);
  if (caller === undefined) throw new Error("a call passed that was not authenticated");
  return caller;
}
