// The client certificate of a connection, read once: reading it costs as much as a whole call.
import { X509Certificate } from "node:crypto";
import type { ServerInterceptingCallInterface } from "@grpc/grpc-js";
import type { ClientCertificate } from "../core/call.ts";
import { sessionOf } from "./wire.ts";

// By the session: addresses and ports are used again by others.
const certificates = new WeakMap<object, ClientCertificate | "none">();

/** The verified client certificate of the call's connection; undefined where none was presented, or none that leads to a trusted authority. */
export function certificateOf(call: ServerInterceptingCallInterface): ClientCertificate | undefined {
  const session = sessionOf(call);
  const known = session === undefined ? undefined : certificates.get(session);
  if (known !== undefined) return known === "none" ? undefined : known;
  const read = readCertificate(call);
  if (session !== undefined) certificates.set(session, read ?? "none");
  return read;
}

function readCertificate(call: ServerInterceptingCallInterface): ClientCertificate | undefined {
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  if (raw === undefined) return undefined;
  const certificate = new X509Certificate(raw);
  return {
    uris: urisOf(certificate.subjectAltName ?? ""),
    notBeforeMs: Date.parse(certificate.validFrom),
    notAfterMs: Date.parse(certificate.validTo),
  };
}

/**
 * URI entries of a subject alternative name as Node writes it. Where an entry had to be quoted, what looks like a URI may stand inside
 * another name: none is taken then.
 */
function urisOf(names: string): readonly string[] {
  if (names.includes('"')) return [];
  return names
    .split(", ")
    .filter((name) => name.startsWith("URI:"))
    .map((name) => name.slice("URI:".length));
}
