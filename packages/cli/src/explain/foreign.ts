// What a status without a reason of Brevet's most likely is: sent by the service, by something between, or made by the client itself.
// Data and words only. These are likely causes, and said to be no more.
import { codeName, GrpcCode } from "@brevet/protocol";

/** Words for a status that no guard sent. */
export interface Foreign {
  readonly says: string;
  readonly causes: readonly string[];
  readonly next: string;
}

const DOCTOR = "brevet doctor --target ADDRESS";

interface Known extends Foreign {
  readonly code?: number;
  readonly message?: RegExp;
}

// The first that fits. Texts are those of grpc-js, C-core, grpc-go, Envoy and nginx.
const known: readonly Known[] = [
  {
    message: /metadata size exceeds|header list size|too much metadata|header list too large/i,
    says: "The trailers were larger than the client takes, so that the status that was sent is lost.",
    causes: [
      "C-core clients (Python, C++, Ruby, PHP) lose trailers over about 8 KiB, at random from less; Brevet keeps its own under 4 KiB",
      "the service or a proxy adds large trailers of its own",
    ],
    next: "Find the decision in the guard's log by method and time; raise the client's `grpc.max_metadata_size` until the large trailers are gone.",
  },
  {
    message: /HTTP status code|http2? header with status|status code 4\d\d|status code 5\d\d|<html/i,
    says: "Something between client and service answered in plain HTTP, not in gRPC.",
    causes: [
      "a gateway's own authorization (auth_request, forward-auth) turned a denial into 401 or 403",
      "a load balancer answers 502, 503 or 504 for a service that is away, or for HTTP/1 in front of gRPC",
    ],
    next: `Compare with a call that goes round the gateway, then: ${DOCTOR}`,
  },
  {
    code: GrpcCode.UNAVAILABLE,
    message: /certificate|TLS|SSL|handshake/i,
    says: "The connection's TLS did not come about.",
    causes: ["a certificate is expired, not yet valid, for another name, or from an unknown authority", "one side speaks plaintext"],
    next: DOCTOR,
  },
  {
    code: GrpcCode.UNAVAILABLE,
    says: "The service, or what stands in front of it, was not reached.",
    causes: ["nothing listens at the address, or a name does not resolve", "the connection broke, or the server is draining"],
    next: `Try again with backoff; if it lasts: ${DOCTOR}`,
  },
  {
    code: GrpcCode.DEADLINE_EXCEEDED,
    says: "The client's own deadline ran out; nobody refused anything.",
    causes: [
      "the deadline counts while a person decides: the wait for an approval has to be apart from it",
      "retries ate the deadline",
      "the service is slow",
    ],
    next: `Ask before you call (\`brevet request METHOD --wait\`), or let the client library wait; to see which deadlines guards see: ${DOCTOR}`,
  },
  {
    code: GrpcCode.UNAUTHENTICATED,
    says: "An identity was refused, but not by a guard of Brevet's: it would have given a reason.",
    causes: ["the service, or middleware before the guard, checks identities of its own", "a client library could not get a token"],
    next: `See who answers: ${DOCTOR}`,
  },
  {
    code: GrpcCode.PERMISSION_DENIED,
    says: "The call was refused, but not by a guard of Brevet's: it would have given a reason.",
    causes: ["the service has rules of its own", "a gateway refused, and put its own status in place"],
    next: `See who answers: ${DOCTOR}`,
  },
  {
    code: GrpcCode.UNIMPLEMENTED,
    says: "Whoever answered does not have the method.",
    causes: ["the address is of another service", "client and server have different versions of the .proto", "a proxy routes it elsewhere"],
    next: DOCTOR,
  },
  {
    code: GrpcCode.RESOURCE_EXHAUSTED,
    says: "A limit was reached that is not Brevet's.",
    causes: ["a message is larger than the receiver takes", "the service or a gateway limits the rate"],
    next: "Look at the message; repeat later with backoff.",
  },
  {
    code: GrpcCode.CANCELLED,
    says: "The call was cancelled by the caller's side, or its connection was reset.",
    causes: ["the program, or the call that this one belongs to, was cancelled", "a proxy reset the stream"],
    next: "Look at who cancelled; a call that waits for an approval ends like this when its program stops.",
  },
  {
    code: GrpcCode.INTERNAL,
    says: "Somebody failed, and it was not the guard's decision: that would have been GUARD_FAULT.",
    causes: ["the service's handler threw", "a proxy broke the stream (RST_STREAM)", "messages do not parse: other versions of the .proto"],
    next: "Look at the service's log at this time.",
  },
  {
    code: GrpcCode.UNKNOWN,
    says: "A status that says nothing: most often an exception in the service's handler.",
    causes: ["the handler threw something that is no gRPC status", "a proxy answered with a status of its own"],
    next: "Look at the service's log at this time.",
  },
];

/** The most likely story of a status; undefined for OK. */
export function foreignStatus(code: number, message: string): Foreign | undefined {
  if (code === GrpcCode.OK) return undefined;
  const found = known.find((each) => (each.code === undefined || each.code === code) && (each.message?.test(message) ?? true));
  return (
    found ?? {
      says: `${codeName(code)} without a reason of Brevet's: it is the service's own answer.`,
      causes: ["the service refuses this request for reasons of its own"],
      next: "Read the message; the service's log has the rest.",
    }
  );
}
