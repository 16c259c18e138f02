// Policies of the log: seeded once, never rolled back by a file, refused where they overlap.
import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { test } from "node:test";
import { startTestAuthority } from "@brevet/testing";
import { pino } from "pino";
import { AUDIENCE, clients, policyText, transport } from "../testdata/scene.ts";

function listening(): { logger: pino.Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const write = (chunk: Buffer, _encoding: string, done: () => void) => {
    lines.push(JSON.parse(chunk.toString("utf8")) as Record<string, unknown>);
    done();
  };
  return { logger: pino({ level: "debug" }, new Writable({ write })), lines };
}

test("a file seeds an empty log; a later difference is reported, and nothing is rolled back", async () => {
  const first = policyText();
  await using authority = await startTestAuthority({ policy: first });
  const { data } = authority;
  await authority.authority[Symbol.asyncDispose]();
  const { logger, lines } = listening();
  await using later = await startTestAuthority({ data, logger, policy: policyText({ more: "# another day\n" }) });
  const { policies } = clients(transport(later.url, await later.token("user:admin@test")));
  const { version } = await policies.get({ audience: AUDIENCE });
  assert.deepEqual([version?.version, version?.document], [1n, first]);
  assert.ok(lines.some(({ msg, file }) => file === "policy.yaml" && String(msg).includes("differs")));
});

test("the same file again is no difference", async () => {
  await using authority = await startTestAuthority({ policy: policyText() });
  const { data } = authority;
  await authority.authority[Symbol.asyncDispose]();
  const { logger, lines } = listening();
  await using again = await startTestAuthority({ data, logger, policy: policyText() });
  assert.ok(again.url !== "");
  assert.ok(!lines.some(({ msg }) => String(msg).includes("differs")));
});

test("a policy with errors, for the authority's own audience, or overlapping another stops the start", async () => {
  const file = (text: string, name = "a.yaml") => ({ file: name, text });
  const wrong: [RegExp, { file: string; text: string }[]][] = [
    [/a\.yaml:\d+:\d+ error/, [file("audience: 7")]],
    [/a\.yaml:\d+:\d+ error/, [file(policyText({ audience: "brevet" }))]],
    [/a\.yaml:\d+:\d+ error/, [file(policyText({ issuer: "https://login.test", accepts: ["payments-test", "brevet"] }))]],
    [/both for the audience/, [file(policyText()), file(policyText({ more: "# second\n" }), "b.yaml")]],
    [
      /accepts tokens made for two/,
      [
        file(policyText({ audience: "one", issuer: "https://login.test", accepts: ["one", "two"] })),
        file(policyText({ audience: "two" }), "b.yaml"),
      ],
    ],
  ];
  for (const [message, policies] of wrong) await assert.rejects(startTestAuthority({ policies }), message);
});

test("no token is ever logged", async () => {
  const { logger, lines } = listening();
  await using authority = await startTestAuthority({ policy: policyText(), logger });
  const token = await authority.token("user:sam@test");
  const { elevations } = clients(transport(authority.url, token));
  await assert.rejects(elevations.get({ id: "elv_none" }));
  await assert.rejects(clients(transport(authority.url, `${token.slice(0, -4)}AAAA`)).elevations.list({}));
  const text = JSON.stringify(lines);
  assert.match(text, /IDENTITY_SIGNATURE_INVALID/);
  for (const part of token.split(".")) assert.ok(!text.includes(part.slice(0, 40)));
});
