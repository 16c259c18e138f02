import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { formatVerifier, openCheckpoint, parseVerifier, signCheckpoint } from "./checkpoint.ts";

const { privateKey } = generateKeyPairSync("ed25519");
const checkpoint = { origin: "brevet/epo_TEST", size: 42n, root: new Uint8Array(32).fill(7) };
const note = signCheckpoint(checkpoint, privateKey);
const verifierKey = formatVerifier(checkpoint.origin, createPublicKey(privateKey));

function verifier(key = verifierKey) {
  const parsed = parseVerifier(key);
  assert.ok(parsed);
  return parsed;
}

test("a signed checkpoint opens with its verifier key and says what was signed", () => {
  assert.deepEqual(openCheckpoint(note, verifier()), { checkpoint, signed: true });
  assert.match(note, /^brevet\/epo_TEST\n42\n[A-Za-z0-9+/]{43}=\n\n— brevet\/epo_TEST [A-Za-z0-9+/]{91}=\n$/);
});

test("signatures of others beside ours are passed over", () => {
  const cosigned = `${note}— witness.example ${Buffer.alloc(76, 1).toString("base64")}\nnonsense\n`;
  assert.equal(openCheckpoint(cosigned, verifier())?.signed, true);
});

test("an altered note, another key, or the key under another name does not count as signed", () => {
  const other = createPublicKey(generateKeyPairSync("ed25519").privateKey);
  assert.equal(openCheckpoint(note.replace("\n42\n", "\n43\n"), verifier())?.signed, false);
  assert.equal(openCheckpoint(note, verifier(formatVerifier(checkpoint.origin, other)))?.signed, false);
  assert.equal(openCheckpoint(note, verifier(formatVerifier("brevet/epo_OTHER", createPublicKey(privateKey))))?.signed, false);
  assert.equal(openCheckpoint(note)?.signed, false);
});

test("what is no checkpoint, and what is no verifier key, is told apart from an unsigned one", () => {
  for (const text of ["", "a\n1\n\n", "no size\nx\nAAAA\n\n— x y\n", note.replace("42", "042"), note.replace("\n\n", "\n")])
    assert.equal(openCheckpoint(text, verifier()), undefined, text);
  const [name = "", id = "", key = ""] = verifierKey.split("+", 3);
  for (const text of ["", "name", `${name}+00000000+${key}`, `${name}+${id}+AAAA`]) assert.equal(parseVerifier(text), undefined, text);
});
