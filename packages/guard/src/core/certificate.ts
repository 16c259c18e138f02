// What counts of a client certificate that a TLS handshake verified. Never verifies one.
import { X509Certificate } from "node:crypto";
import type { ClientCertificate } from "./call.ts";

/** Reads a certificate in DER. Costs as much as a whole call: once a connection is enough. */
export function readCertificate(der: Buffer): ClientCertificate {
  const certificate = new X509Certificate(der);
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
