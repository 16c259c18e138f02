// Certificates for tests, made on the spot by an authority of their own. Never written to disk.
// oxlint-disable-next-line import/no-unassigned-import -- the library asks for it while it loads
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { systemClock } from "@brevet/protocol";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

/** Names in a certificate, and its life. */
export interface CertificateNames {
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  /** `spiffe://…` */
  readonly uri?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

/** A certificate and its key, PEM. */
export interface Certified {
  readonly cert: string;
  readonly key: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 24 * 3_600_000;

/** An authority of certificates. */
export class TestCa {
  /** Its own certificate, PEM. */
  readonly cert: string;
  readonly #certificate: X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;

  private constructor(certificate: X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.cert = certificate.toString("pem");
    this.#certificate = certificate;
    this.#keys = keys;
  }

  static async create(name: string = "CN=Test CA"): Promise<TestCa> {
    const keys = await newKeys();
    const extensions = [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ];
    const certificate = await X509CertificateGenerator.createSelfSigned(
      { name, keys, extensions, signingAlgorithm: ALGORITHM, ...life({}) },
      webcrypto,
    );
    return new TestCa(certificate, keys);
  }

  /** A certificate for a server (`dns`, `ip`) or a client (`uri`); good for both. */
  async issue(names: CertificateNames): Promise<Certified> {
    const keys = await newKeys();
    const alternatives: JsonGeneralNames = [
      ...(names.dns ?? []).map((value) => ({ type: "dns" as const, value })),
      ...(names.ip ?? []).map((value) => ({ type: "ip" as const, value })),
      ...(names.uri ?? []).map((value) => ({ type: "url" as const, value })),
    ];
    const certificate = await X509CertificateGenerator.create(
      {
        subject: `CN=${names.dns?.[0] ?? "test"}`,
        issuer: this.#certificate.subject,
        publicKey: keys.publicKey,
        signingKey: this.#keys.privateKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
          ...(alternatives.length > 0 ? [new SubjectAlternativeNameExtension(alternatives)] : []),
        ],
        ...life(names),
      },
      webcrypto,
    );
    const key = PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
    return { cert: certificate.toString("pem"), key };
  }
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

function life({ notBefore, notAfter }: CertificateNames): { notBefore: Date; notAfter: Date } {
  const now = systemClock.wallMs();
  return { notBefore: notBefore ?? new Date(now - DAY_MS), notAfter: notAfter ?? new Date(now + DAY_MS) };
}
