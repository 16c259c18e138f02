// Garbage in, with real processes: whatever comes, the answer is a clear error, nothing is permitted that should not be, and the next call is served.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { connect, type OutgoingHttpHeaders } from "node:http2";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { ElevationServiceRequestRequestSchema } from "@brevet/protocol/brevet/v1/elevation";
import { create, toBinary } from "@bufbuild/protobuf";
import { RefundRequestSchema } from "../../examples/ledger/src/gen/payments/v1/ledger_pb.ts";
import { approved } from "../people.ts";
import { CALLER, REFUND, Scene, told } from "../scene.ts";

const SAM = "user:sam@acme.test";
const MIB = 1 << 20;

let scene: Scene;
let authorityToken = "";
let serviceToken = "";

before(async () => {
  scene = await Scene.open();
  authorityToken = await scene.token(SAM, "brevet", ["group:support"]);
  serviceToken = await scene.token(SAM, "payments-prod", ["group:support"]);
  await approved(scene, SAM, 600_000, true);
});
after(() => scene[Symbol.asyncDispose]());

/** A message as gRPC frames it; flag and length may be lies. */
function frame(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

/** Sends one gRPC request as it is. The answer: `grpc CODE MESSAGE`, `http STATUS`, or how the stream broke. */
function send(url: string, path: string, headers: OutgoingHttpHeaders, body: Uint8Array): Promise<string> {
  const session = connect(url, { maxSendHeaderBlockLength: 4 * MIB });
  return new Promise<string>((resolve) => {
    let answer = "";
    session.on("error", (error) => resolve(`broken: ${error.message}`));
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...headers });
    const read = (block: OutgoingHttpHeaders) => {
      const code = block["grpc-status"];
      if (code !== undefined) answer = `grpc ${String(code)} ${decodeURIComponent(String(block["grpc-message"] ?? ""))}`;
      else if (answer === "" && block[":status"] !== 200) answer = `http ${String(block[":status"])}`;
    };
    stream.on("response", read);
    stream.on("trailers", read);
    stream.on("error", (error) => {
      answer ||= `broken: ${error.message}`;
    });
    stream.on("close", () => resolve(answer));
    stream.resume();
    stream.end(body);
  }).finally(() => session.destroy());
}

const many = (count: number, value: string) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-entry-${i}`, value]));

/** What is wrong with a call, how it differs from a good one, and the answers that are right. */
type Broken = readonly [what: string, expected: RegExp, change: { headers?: OutgoingHttpHeaders; body?: (good: Uint8Array) => Uint8Array }];

const MESSAGES: readonly Broken[] = [
  ["no message", /^grpc 12 .*message/, { body: () => new Uint8Array(0) }],
  ["a message cut off", /^grpc (3|12) /, { body: (good) => frame(good, 0, good.length + 5) }],
  ["half a frame", /^grpc (3|12) /, { body: () => Uint8Array.of(0, 0) }],
  ["two messages", /^grpc 12 .*(second|extra)/, { body: (good) => Buffer.concat([frame(good), frame(good)]) }],
  ["trailing bytes in the message", /^grpc 13 /, { body: (good) => frame(Uint8Array.from([...good, 0xff])) }],
  ["a message that is none", /^grpc 13 /, { body: () => frame(Buffer.from("garbage garbage")) }],
  ["gzip that is none", /^grpc (3|13) .*decompress/i, { headers: { "grpc-encoding": "gzip" }, body: (good) => frame(good, 1) }],
  ["an unknown encoding", /^grpc 12 .*"br"/, { headers: { "grpc-encoding": "br" }, body: (good) => frame(good, 1) }],
  ["64 MiB in a little gzip", /^grpc 8 /, { headers: { "grpc-encoding": "gzip" }, body: () => frame(gzipSync(Buffer.alloc(64 * MIB)), 1) }],
  ["5 MiB", /^grpc 8 /, { body: () => frame(Buffer.alloc(5 * MIB)) }],
  ["a length of 4 GiB", /^grpc 8 /, { body: (good) => frame(good, 0, 0xffffffff) }],
  ["another content type", /^http 415/, { headers: { "content-type": "text/plain" } }],
];
const HEADERS: readonly Broken[] = [
  ["no identity", /^grpc 16 IDENTITY_MISSING: /, { headers: { authorization: undefined } }],
  ["an empty identity", /^grpc 16 IDENTITY_MALFORMED: /, { headers: { authorization: "" } }],
  ["commas for an identity", /^grpc 16 IDENTITY_MALFORMED: /, { headers: { authorization: ",".repeat(100) } }],
  ["another scheme", /^grpc 16 IDENTITY_MALFORMED: /, { headers: { authorization: "Basic c2FtOnNhbQ==" } }],
  ["a token of bytes that are no text", /^grpc 16 IDENTITY_M(ALFORMED|ISSING): /, { headers: { authorization: "Bearer \xff\xfe\x80" } }],
  ["a token whose header is no UTF-8", /^grpc 16 IDENTITY_MALFORMED: .*UTF-8/, { headers: { authorization: "Bearer __4.wQ.AA" } }],
  ["a token of 30,000 bytes", /^grpc 16 IDENTITY_MALFORMED: .*8192/, { headers: { authorization: `Bearer ${"a".repeat(30_000)}` } }],
  ["a token of 5,000 dots", /^grpc 16 IDENTITY_MALFORMED: .*parts/, { headers: { authorization: `Bearer ${".".repeat(5000)}` } }],
  ["1,000 entries of metadata", /^broken: .*ENHANCE_YOUR_CALM/, { headers: many(1000, "x") }],
  ["a mebibyte of metadata", /^broken: /, { headers: { "x-big": "a".repeat(MIB) } }],
];
/** Odd, and nobody's business: answered like the good call. */
const IGNORED: readonly Broken[] = [
  ["a header of 60 KiB", /^grpc 0/, { headers: { "x-big": "a".repeat(60 * 1024) } }],
  ["headers of 60 KiB", /^grpc 0/, { headers: many(30, "a".repeat(2000)) }],
  ["bytes that are no text", /^grpc 0/, { headers: { "x-odd": "\xff\xfe" } }],
  ["binary metadata that is no base64", /^grpc 0/, { headers: { "x-odd-bin": "!!!###,,=," } }],
  ["a traceparent that is none", /^grpc 0/, { headers: { traceparent: "garbage" } }],
  ["two traceparents", /^grpc 0/, { headers: { traceparent: ["00-1-2-01", "00-3-4-01"] } }],
  ["a traceparent of 9,000 bytes", /^grpc 0/, { headers: { traceparent: "0".repeat(9000) } }],
  ["a deadline of 11,000 years", /^grpc 0/, { headers: { "grpc-timeout": "99999999H" } }],
];
/** A live elevation permits whatever garbage is shown beside it, and only what its condition allows. */
const GRANTS: readonly Broken[] = [
  ["a grant that is none", /^grpc 0/, { headers: { "brevet-grant": "garbage" } }],
  ["five grants", /^grpc 0/, { headers: { "brevet-grant": ["a", "b", "c", "d", "e"] } }],
  ["5,000 commas", /^grpc 0/, { headers: { "brevet-grant": ",".repeat(5000) } }],
  ["an empty grant", /^grpc 0/, { headers: { "brevet-grant": "" } }],
  ["a grant of bytes that are no text", /^grpc 0/, { headers: { "brevet-grant": "\xff\xfe" } }],
  ["brevet metadata that is not known", /^grpc 0/, { headers: { "brevet-nope": "1", "brevet-odd-bin": "###" } }],
  ["an empty message", /^grpc 7 CONDITION_NOT_MET: /, { body: () => frame(new Uint8Array(0)) }],
  [
    "a message over a mebibyte",
    /^grpc 7 POLICY_MISCONFIGURED: .*1048576/,
    { body: (good) => frame(Buffer.concat([good, unknownField(MIB)])) },
  ],
  [
    "a field in the form of another type",
    /^grpc 7 POLICY_MISCONFIGURED: .*amount_cents/,
    { body: (good) => frame(Uint8Array.from([...good, 0x15, 0x81, 0x80, 0x80, 0])) },
  ],
  [
    "text that is no UTF-8",
    /^grpc (7 POLICY_MISCONFIGURED|13)/,
    { body: (good) => frame(Uint8Array.from([...good, 0x1a, 2, 0xc1, 0x85])) },
  ],
];

/** Field 100, of so many zeros. */
function unknownField(length: number): Buffer {
  return Buffer.concat([Buffer.from([0xa2, 0x06, (length & 127) | 128, ((length >> 7) & 127) | 128, length >> 14]), Buffer.alloc(length)]);
}

async function sendAll(url: string, path: string, token: string, good: Uint8Array, cases: readonly Broken[]): Promise<void> {
  const identity = { authorization: `Bearer ${token}` };
  for (const [what, expected, { headers, body }] of cases) {
    const sent = Object.fromEntries(Object.entries({ ...identity, ...headers }).filter(([, value]) => value !== undefined));
    const answer = await send(url, path, sent, body?.(good) ?? frame(good));
    assert.match(answer, expected, what);
    assert.match(await send(url, path, identity, frame(good)), /^grpc 0/, `after ${what}, the next call`);
  }
}

/** Bytes that are not HTTP/2 at all. */
const SOCKET = [
  "GET / HTTP/1.0\r\n\r\n",
  "\x16\x03\x01\x02\x00",
  `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${"garbage".repeat(100)}`,
  "\xff".repeat(100_000),
];

async function throwAtSocket(url: string): Promise<void> {
  const { hostname, port } = new URL(url);
  for (const bytes of SOCKET)
    await new Promise<void>((resolve) => {
      const socket = connectSocket(Number(port), hostname, () => socket.end(bytes, "latin1"));
      socket.resume();
      socket.on("error", () => {});
      socket.on("close", () => resolve());
      setTimeout(() => socket.destroy(), 2000).unref();
    });
}

describe("the guard", () => {
  const refund = () =>
    toBinary(RefundRequestSchema, create(RefundRequestSchema, { charge: scene.charge, amountCents: 1n, currency: "EUR" }));
  const sendGuard = (cases: readonly Broken[]) => sendAll(`http://${scene.address}`, `/${REFUND}`, serviceToken, refund(), cases);

  test("messages", () => sendGuard(MESSAGES));
  test("metadata", () => sendGuard([...HEADERS, ...IGNORED]));
  test("grants, and requests for its condition", () => sendGuard(GRANTS));
  test("what is no HTTP/2", async () => {
    await throwAtSocket(`http://${scene.address}`);
    await sendGuard([]);
    assert.match(
      await send(`http://${scene.address}`, `/${REFUND}`, { authorization: `Bearer ${serviceToken}` }, frame(refund())),
      /^grpc 0/,
    );
  });
});

describe("the authority", () => {
  const path = "/brevet.v1.ElevationService/Request";
  const ask = { requestId: "req_garbage_1", audience: "payments-prod", method: REFUND, reason: "OPS-1", validateOnly: true };
  const good = toBinary(ElevationServiceRequestRequestSchema, create(ElevationServiceRequestRequestSchema, ask));
  const sendAuthority = (cases: readonly Broken[]) => sendAll(scene.url, path, authorityToken, good, cases);

  test("messages", () => sendAuthority(MESSAGES));
  test("metadata", () => sendAuthority([...HEADERS, ...IGNORED]));
  test("what is no HTTP/2", async () => {
    await throwAtSocket(scene.url);
    assert.match(await send(scene.url, path, { authorization: `Bearer ${authorityToken}` }, frame(good)), /^grpc 0/);
  });

  const post = async (body: string) => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${authorityToken}` };
    const response = await fetch(`${scene.url}${path}`, { method: "POST", headers, body });
    return `${response.status} ${await response.text()}`;
  };
  /** Each is 400, and says what is wrong. */
  const JSON_CASES: readonly [what: string, body: string | Record<string, unknown>, said: RegExp][] = [
    ["broken JSON", "{", /JSON/],
    ["nothing", "", /JSON/],
    ["no object", "[]", /JSON/],
    ["100,000 brackets", "[".repeat(100_000), /JSON/],
    ["a name twice", '{"method":"a","method":"b"}', /duplicate/],
    ["a number for text", { method: 5 }, /method.*expected string/],
    ["half a surrogate pair", { reason: "OPS-1 \ud800" }, /reason.*UTF8/],
    ["a method that is none", { method: "\u0000" }, /method: must be package\.Service\/Method/],
    ["a reason of 2,000 characters", { reason: `OPS-1 ${"x".repeat(2000)}` }, /reason: must be at most 1,000/],
    ["no request id", { requestId: "" }, /request_id: must be/],
    ["a request id of control characters", { requestId: "\u0000".repeat(10) }, /request_id: must be/],
    ["a negative duration", { duration: "-5s" }, /duration: must not be negative/],
    ["a duration of nothing", { duration: "0s" }, /duration: must be at least/],
    ["a nanosecond", { duration: "0.000000001s" }, /duration: must be at least/],
    ["10,000 years", { duration: "315576000000s" }, /duration: must be at most 30 days/],
    ["a duration beyond protobuf's", { duration: "99999999999999999999s" }, /Duration/],
    ["a duration that is none", { duration: "NaN" }, /Duration/],
    ["a start in 1970", { startTime: "1970-01-01T00:00:00Z" }, /start_time: must not lie in the past/],
    ["a start in 2100", { startTime: "2100-01-01T00:00:00Z" }, /start_time: must be at most 30 days ahead/],
    ["a start after all calendars", { startTime: "10000-01-01T00:00:00Z" }, /Timestamp/],
  ];
  for (const [what, body, said] of JSON_CASES)
    test(`JSON: ${what}`, async () => {
      const answer = await post(typeof body === "string" ? body : JSON.stringify({ ...ask, ...body }));
      assert.match(answer, /^400 \{"code":"invalid_argument"/);
      assert.match(answer, said);
    });

  test("addresses of pages", async () => {
    for (const page of ["/e/%FF", "/e/%", "/r/%00", "/e/<script>", "//", "/../../etc/passwd", `/${"z".repeat(70_000)}`]) {
      const { status } = await fetch(`${scene.url}${page}`);
      assert.ok([400, 404, 431].includes(status), `${page.slice(0, 30)}: ${status}`);
    }
    assert.match(await post(JSON.stringify(ask)), /^200 /);
  });
});

describe("the command line", () => {
  const REQUEST = ["request", REFUND, "--reason", "OPS-1", ...CALLER];
  const misuse = async (words: readonly string[], said: RegExp, status = 2) => {
    const finished = await scene.stage.brevet(words);
    assert.equal(finished.status, status, told(finished));
    assert.match(finished.stderr + finished.stdout, said);
  };

  test("durations and times", async () => {
    for (const text of ["-5m", "0s", "", "99999999999999d", "1e3s", "٥m"])
      await misuse([...REQUEST, `--for=${text}`], /--for .*not a duration/);
    await misuse([...REQUEST, "--wait", "--timeout=-1s"], /--timeout -1s: not a duration/);
    for (const text of ["yesterday", "5", "1/2/2027"])
      await misuse([...REQUEST, `--at=${text}`], /--at .*not a time.*\n.*2027-01-31T18:00:00Z/);
    const { elevations } = (await scene.brevet("list", "--state", "pending", ...CALLER)) as { elevations: unknown[] };
    assert.deepEqual(elevations, [], "nothing was asked for");
  });

  test("files that are no text, broken, empty, or too long", async () => {
    const policy = await readFile("examples/ledger/policy.yaml", "utf8");
    await writeFile(join(scene.data, "ledger.binpb"), await readFile("examples/ledger/ledger.binpb"));
    const file = async (name: string, content: string | Uint8Array) => {
      await writeFile(join(scene.data, name), content);
      return join(scene.data, name);
    };
    const bad = Buffer.concat([Buffer.from(policy.slice(0, 300)), Uint8Array.of(0xc1, 0x85), Buffer.from(policy.slice(300))]);
    await misuse(["policy", "check", await file("bytes.yaml", bad)], /bytes\.yaml:4: not text in UTF-8/, 1);
    await misuse(["policy", "check", await file("long.yaml", "#".repeat(MIB + 1))], /document-too-long/, 1);
    await misuse(["policy", "check", await file("empty.yaml", "")], /empty/, 1);
    for (const [from, to, said] of [
      ["services:", "services: [{", /:\d+:\d+ error yaml-syntax: /],
      ["default: 15m", "default: -15m", /:\d+:\d+ error absurd-duration: .*more than 0/],
      ["max: 1h }", "max: 999999999d }", /:\d+:\d+ error absurd-duration: .*30d/],
      ["default: 15m", "default: 15", /:\d+:\d+ error wrong-type: .*duration/],
      ["pending: 30m", "pendingg: 30m", /:\d+:\d+ error unknown-key: .*did you mean pending/],
      ["amount_cents <= 50000", "amount_cents <= '50000'", /:\d+:\d+ error condition-invalid: int <= string/],
    ] as const)
      await misuse(["policy", "check", await file("edited.yaml", policy.replace(from, to))], said, 1);
    const serve = async (content: string | Uint8Array, said: RegExp, status = 2) =>
      misuse(["serve", "--config", await file("serve.yaml", content)], said, status);
    await serve("data: [", /serve\.yaml: /);
    await serve("", /no options/);
    await serve("dat: x", /there is no option "dat"/);
    await serve("data: 5", /data is text/);
    await serve(Uint8Array.of(0x64, 0x61, 0x74, 0x61, 0x3a, 0x20, 0xff, 0x0a), /serve\.yaml:1: not text in UTF-8/, 1);
    await serve("listen: 127.0.0.1:99999", /--listen 127\.0\.0\.1:99999: not an address/);
    await misuse([...REQUEST, "--payload", await file("payload.bin", Buffer.alloc(65 * 1024))], /at most 64 KiB/);
  });
});
