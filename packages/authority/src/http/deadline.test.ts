import assert from "node:assert/strict";
import { test } from "node:test";
import { ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { startTestAuthority } from "@brevet/testing";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { policyText, Reading } from "../testdata/scene.ts";

// Clients without a deadline of their own send the farthest that they know; a Node timer longer than 24.8 days rings at once.
const FAR = [
  ["grpc-timeout", "720H"],
  ["grpc-timeout", "99999999H"],
  ["connect-timeout-ms", "9999999999"],
] as const;

for (const [header, value] of FAR)
  test(`a deadline that is far away is no deadline that has passed: ${header} ${value}`, async () => {
    await using authority = await startTestAuthority({ policy: policyText() });
    const token = await authority.token("user:sam@test");
    const options = { baseUrl: authority.url, httpVersion: "2" as const };
    const transport = header === "grpc-timeout" ? createGrpcTransport(options) : createConnectTransport(options);
    const headers = { authorization: `Bearer ${token}`, [header]: value };
    const watch = new Reading((signal) => createClient(ElevationService, transport).watch({}, { headers, signal }));
    await watch.until(({ position }) => position !== undefined);
    // Nothing else is told: what ends now is the watch.
    const ended = await Promise.race([watch.until(() => false), new Promise((resolve) => setTimeout(resolve, 100, "open"))]);
    assert.equal(ended, "open");
    watch.abort.abort();
  });
