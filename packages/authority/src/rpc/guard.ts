// GuardService on the wire: translates and nothing else.
import type { GuardService } from "@brevet/protocol/brevet/v1/guard";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Probe } from "../guards/probe.ts";
import type { GuardLink } from "../guards/sync.ts";
import { callerOf } from "./authentication.ts";
import { invalidField } from "./status.ts";

/** The service. */
export function guardRpc({ link, probe }: { readonly link: GuardLink; readonly probe: Probe }): ServiceImpl<typeof GuardService> {
  return {
    sync(requests, context) {
      return link.sync(callerOf(context), requests, context.signal);
    },
    list({ audience }, context) {
      return { guards: link.list(callerOf(context), audience) };
    },
    async probe({ headersSent, audience }, context) {
      if (headersSent.length > 100) throw invalidField("headers_sent", "must be at most 100");
      if (audience.length > 128) throw invalidField("audience", "must be at most 128 characters");
      return probe.answer(callerOf(context), { audience, headersSeen: [...context.requestHeader.keys()].toSorted() });
    },
  };
}
