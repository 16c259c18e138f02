// Checkpoints as signed notes, so that any witness of transparency logs can read them (C2SP signed-note, tlog-checkpoint).
// Never decides which checkpoint to believe.
import { createPublicKey, hash, type KeyObject, sign, verify } from "node:crypto";

const ED25519 = 1;

/** A tree head: whose, how many entries, the root over them. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Uint8Array;
}

/** A key that verifies notes. */
export interface NoteVerifier {
  readonly name: string;
  readonly keyId: Uint8Array;
  readonly publicKey: KeyObject;
}

/** The checkpoint as a note signed with an Ed25519 key under the checkpoint's origin as key name. */
export function signCheckpoint(checkpoint: Checkpoint, privateKey: KeyObject): string {
  const { origin, size, root } = checkpoint;
  const text = `${origin}\n${size}\n${Buffer.from(root).toString("base64")}\n`;
  const signature = sign(null, Buffer.from(text), privateKey);
  const stamped = Buffer.concat([keyId(origin, rawPublic(createPublicKey(privateKey))), signature]);
  return `${text}\n— ${origin} ${stamped.toString("base64")}\n`;
}

/** The key in the form that verifiers are configured with: `name+id+key`. */
export function formatVerifier(name: string, key: KeyObject): string {
  const raw = rawPublic(key);
  return `${name}+${Buffer.from(keyId(name, raw)).toString("hex")}+${Buffer.from([ED25519, ...raw]).toString("base64")}`;
}

/** Reads a verifier key; undefined where it is malformed, of another algorithm, or its id is not that of the key. */
export function parseVerifier(text: string): NoteVerifier | undefined {
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text.trim());
  const [, name = "", id = "", encoded = ""] = match ?? [];
  const key = Buffer.from(encoded, "base64");
  if (match === null || key.length !== 33 || key[0] !== ED25519) return undefined;
  const raw = new Uint8Array(key.subarray(1));
  if (Buffer.from(keyId(name, raw)).toString("hex") !== id) return undefined;
  const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(raw).toString("base64url") }, format: "jwk" });
  return { name, keyId: keyId(name, raw), publicKey };
}

/** What a note says and whether this key signed it; undefined where it is no checkpoint. Signatures of others are passed over. */
export function openCheckpoint(
  note: string,
  verifier?: NoteVerifier,
): { readonly checkpoint: Checkpoint; readonly signed: boolean } | undefined {
  const end = note.lastIndexOf("\n\n");
  const text = note.slice(0, end + 1);
  const [origin = "", size = "", root = ""] = text.split("\n");
  if (end < 0 || origin === "" || !/^(0|[1-9][0-9]{0,19})$/.test(size) || !/^[A-Za-z0-9+/]{43}=$/.test(root)) return undefined;
  const signed = note
    .slice(end + 2)
    .split("\n")
    .some((line) => verifier !== undefined && isSignature(line, text, verifier));
  return { checkpoint: { origin, size: BigInt(size), root: new Uint8Array(Buffer.from(root, "base64")) }, signed };
}

function isSignature(line: string, text: string, verifier: NoteVerifier): boolean {
  const match = /^— (\S+) ([A-Za-z0-9+/]+=*)$/.exec(line);
  if (match?.[1] !== verifier.name) return false;
  const stamped = Buffer.from(match[2] ?? "", "base64");
  if (stamped.length !== 4 + 64 || Buffer.compare(stamped.subarray(0, 4), verifier.keyId) !== 0) return false;
  return verify(null, Buffer.from(text), verifier.publicKey, stamped.subarray(4));
}

function keyId(name: string, raw: Uint8Array): Uint8Array {
  return new Uint8Array(hash("sha256", Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(ED25519), raw]), "buffer").subarray(0, 4));
}

function rawPublic(key: KeyObject): Uint8Array {
  return new Uint8Array(Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url"));
}
