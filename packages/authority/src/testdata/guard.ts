// A guard's end of the link, in tests: says what it is told to, and reads what comes.
import type { LogPosition } from "@brevet/protocol/brevet/v1/elevation";
import {
  type GuardServiceSyncRequest,
  GuardServiceSyncRequestSchema,
  type GuardServiceSyncResponse,
} from "@brevet/protocol/brevet/v1/guard";
import type { TestAuthority } from "@brevet/testing";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { AUDIENCE, clients, Reading, transport } from "./scene.ts";

type Up = MessageInitShape<typeof GuardServiceSyncRequestSchema>["message"];

/** A guard's end of the stream. */
export class Guard extends Reading<GuardServiceSyncResponse> {
  readonly say: (message: NonNullable<Up>) => void;

  constructor(url: string, token: string, hello: { audience: string; after?: LogPosition; instance?: string }) {
    const said: GuardServiceSyncRequest[] = [
      create(GuardServiceSyncRequestSchema, { message: { case: "hello", value: { form: "grpc", ...hello } } }),
    ];
    let wake = () => {};
    super((signal) => {
      async function* requests() {
        for (;;) {
          const next = said.shift();
          if (next) yield next;
          else if (signal.aborted) return;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      }
      signal.addEventListener("abort", () => wake());
      return clients(transport(url, token)).guards.sync(requests(), { signal });
    });
    this.say = (message) => {
      said.push(create(GuardServiceSyncRequestSchema, { message }));
      wake();
    };
  }

  /** All up to `caught_up`. */
  present(): Promise<GuardServiceSyncResponse[]> {
    return this.until(({ message }) => message.case === "caughtUp");
  }
}

/** Links one, of an audience of its own name. */
export const link = async (
  authority: TestAuthority,
  options: { audience?: string; after?: LogPosition; instance?: string; as?: string } = {},
) => {
  const { audience = AUDIENCE, as = `workload:guard-${audience}`, ...rest } = options;
  return new Guard(authority.url, await authority.token(as), { audience, ...rest });
};
