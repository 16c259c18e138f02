import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, addressText, isLocal, reachesItself } from "./address.ts";

test("addresses are read as people write them, and plaintext stays on the machine", () => {
  for (const [text, address, local] of [
    ["127.0.0.1:80", { host: "127.0.0.1", port: 80 }, true],
    ["localhost:0", { host: "localhost", port: 0 }, true],
    ["[::1]:80", { host: "::1", port: 80 }, true],
    ["[::]:80", { host: "::", port: 80 }, false],
    ["0.0.0.0:80", { host: "0.0.0.0", port: 80 }, false],
    ["ledger.acme.test:443", { host: "ledger.acme.test", port: 443 }, false],
    ["127.0.0.1.evil.test:1", { host: "127.0.0.1.evil.test", port: 1 }, false],
    ["unix:/run/x.sock", { path: "/run/x.sock" }, true],
    ["unix:///run/x.sock", { path: "/run/x.sock" }, true],
  ] as const) {
    const read = addressOf(text);
    assert.deepEqual(read, address, text);
    assert.ok(read);
    assert.equal(isLocal(read), local, text);
    assert.deepEqual(addressOf(addressText(read)), read, text);
  }
  for (const none of ["", "host", ":80", "host:", "host:99999", "a b:1", "http://x:1", "::1:80", "unix:"])
    assert.equal(addressOf(none), undefined, none);
});

test("a proxy in front of itself is seen, however its address is written", () => {
  const reaches = (listen: string, called: string) => {
    const [here, there] = [addressOf(listen), addressOf(called)];
    assert.ok(here && there);
    return reachesItself(here, there);
  };
  for (const [listen, called] of [
    ["127.0.0.1:8443", "127.0.0.1:8443"],
    ["127.0.0.1:8443", "LOCALHOST:8443"],
    ["localhost:8443", "[::1]:8443"],
    ["0.0.0.0:8443", "127.0.0.1:8443"],
    ["[::]:8443", "localhost:8443"],
    ["unix:/run/a", "unix:///run/a"],
  ] as const)
    assert.ok(reaches(listen, called), `${listen} ${called}`);
  for (const [listen, called] of [
    ["127.0.0.1:8443", "127.0.0.1:8444"],
    ["127.0.0.1:8443", "127.0.0.2:8443"],
    ["0.0.0.0:8443", "acme.test:8443"],
    ["127.0.0.1:0", "127.0.0.1:0"],
    ["unix:/run/a", "unix:/run/b"],
    ["unix:/run/a", "127.0.0.1:8443"],
  ] as const)
    assert.ok(!reaches(listen, called), `${listen} ${called}`);
});
