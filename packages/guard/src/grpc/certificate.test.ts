import assert from "node:assert/strict";
import { test } from "node:test";
import { TestCa } from "@brevet/testing";
import { Client, credentials, Metadata, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { scene } from "../testdata/scene.ts";

const bytes = (value: Buffer): Buffer => value;
const GetEntry = {
  path: "/test.v1.Ledger/GetEntry",
  requestStream: false,
  responseStream: false,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
} as const;

test("a verified client certificate is an identity, one that leads nowhere is none, and the call is answered all the same", async () => {
  await using at = await scene();
  const [trusted, other] = await Promise.all([TestCa.create(), TestCa.create("CN=Other CA")]);
  const server = await trusted.issue({ dns: ["localhost"], ip: ["127.0.0.1"] });
  const guarded = new Server({ interceptors: [at.guard.interceptor] });
  guarded.addService(
    { GetEntry },
    { GetEntry: (_call: unknown, done: (error: null, value: Buffer) => void) => done(null, Buffer.from("ok")) },
  );
  const pair = { private_key: Buffer.from(server.key), cert_chain: Buffer.from(server.cert) };
  const secure = ServerCredentials.createSsl(Buffer.from(trusted.cert), [pair], false);
  // Callers without a certificate are to be told so by the guard, not by a broken handshake.
  // oxlint-disable-next-line eslint/no-underscore-dangle -- the public way has no rejectUnauthorized
  Object.assign(secure._getConstructorOptions() ?? {}, { requestCert: true, rejectUnauthorized: false });
  const port = await new Promise<number>((resolve, reject) => {
    guarded.bindAsync("127.0.0.1:0", secure, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const call = async (certificate?: { cert: string; key: string }): Promise<string> => {
    const own = certificate && [Buffer.from(certificate.key), Buffer.from(certificate.cert)];
    const client = new Client(`localhost:${port}`, credentials.createSsl(Buffer.from(trusted.cert), own?.[0], own?.[1]));
    const error = await new Promise<ServiceError | null>((resolve) => {
      client.makeUnaryRequest(GetEntry.path, bytes, bytes, Buffer.from("x"), new Metadata(), { deadline: Date.now() + 5000 }, resolve);
    });
    client.close();
    return error === null ? "OK" : `${status[error.code]} ${error.details.split(":")[0]}`;
  };
  try {
    assert.equal(await call(await trusted.issue({ uri: ["spiffe://acme.test/billing"] })), "OK");
    assert.equal(await call(await trusted.issue({ uri: ["spiffe://evil.test/billing"] })), "UNAUTHENTICATED IDENTITY_MISSING");
    assert.equal(await call(await other.issue({ uri: ["spiffe://acme.test/billing"] })), "UNAUTHENTICATED IDENTITY_MISSING");
    assert.equal(
      await call(await trusted.issue({ dns: ["a"], uri: ["spiffe://acme.test/a", "spiffe://acme.test/b"] })),
      "UNAUTHENTICATED IDENTITY_MISSING",
    );
    assert.equal(await call(), "UNAUTHENTICATED IDENTITY_MISSING");
  } finally {
    guarded.forceShutdown();
  }
});
