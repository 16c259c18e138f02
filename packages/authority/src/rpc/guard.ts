// GuardService on the wire: translates and nothing else. Probing through a guard is not offered yet: UNIMPLEMENTED.

import type { Clock } from "@brevet/protocol";
import type { GuardService } from "@brevet/protocol/brevet/v1/guard";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { GuardLink } from "../guards/sync.ts";
import { callerOf } from "./authentication.ts";
import { invalidField } from "./status.ts";

/** The service. */
export function guardRpc({ link, clock }: { readonly link: GuardLink; readonly clock: Clock }): ServiceImpl<typeof GuardService> {
  return {
    sync(requests, context) {
      return link.sync(callerOf(context), requests, context.signal);
    },
    list({ audience }, context) {
      return { guards: link.list(callerOf(context), audience) };
    },
    probe({ headersSent, audience }, context) {
      // Asking on through a guard is not offered yet.
      if (audience !== "") throw new ConnectError("only the authority itself is asked: leave audience out", Code.Unimplemented);
      if (headersSent.length > 100) throw invalidField("headers_sent", "must be at most 100");
      return { headersSeen: [...context.requestHeader.keys()].toSorted(), time: timestampFromMs(clock.wallMs()) };
    },
  };
}
