import assert from "node:assert/strict";
import { test } from "node:test";
import { loadPolicy } from "../load/load.ts";
import { SHOP_POLICY, shopDescriptors } from "../testdata/shop.ts";

test("the kind of a method is known from descriptors, of health without, and of nothing else", () => {
  const { policy } = loadPolicy(SHOP_POLICY, { descriptors: shopDescriptors });
  const kinds = [
    "shop.v1.Shop/Buy",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "shop.v1.Shop/Load",
    "shop.v1.Shop/Nothing",
    "a.B/C",
  ].map((method) => policy?.methodKind(method));
  assert.deepEqual(kinds, ["unary", "unary", "server_streaming", "client_streaming", undefined, undefined]);
});
