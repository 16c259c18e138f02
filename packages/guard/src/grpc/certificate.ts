// The client certificate of a connection, read once: reading it costs as much as a whole call.
import type { ServerInterceptingCallInterface } from "@grpc/grpc-js";
import type { ClientCertificate } from "../core/call.ts";
import { readCertificate } from "../core/certificate.ts";
import { sessionOf } from "./wire.ts";

// By the session: addresses and ports are used again by others.
const certificates = new WeakMap<object, ClientCertificate | "none">();

/** The verified client certificate of the call's connection; undefined where none was presented, or none that leads to a trusted authority. */
export function certificateOf(call: ServerInterceptingCallInterface): ClientCertificate | undefined {
  const session = sessionOf(call);
  const known = session === undefined ? undefined : certificates.get(session);
  if (known !== undefined) return known === "none" ? undefined : known;
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  const read = raw === undefined ? undefined : readCertificate(raw);
  if (session !== undefined) certificates.set(session, read ?? "none");
  return read;
}
