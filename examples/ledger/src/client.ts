#!/usr/bin/env node
// The ledger's command-line client: results as JSON on stdout, one object a line; progress on stderr; exit 1 where the call failed.
// With --authority a refused call asks for its elevation, waits, and goes on; without, it is an ordinary gRPC client.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeProgress, elevate } from "@brevet/client/grpc";
import { ChannelCredentials, InterceptingCall, type Interceptor } from "@grpc/grpc-js";
import { commands, LedgerClient } from "./calls.ts";
import { describeFailure } from "./failure.ts";
import { type Identity, identityFrom } from "./identity.ts";

const USAGE = `usage: node examples/ledger/src/client.ts COMMAND [flags]
  refund --charge ID --amount CENTS --currency EUR
  get ID
  list [--account NAME]
  follow [--account NAME]            entries as they are booked, until interrupted
  import FILE.csv                    columns account,amount_cents,currency; all or none
  reconcile FILE.csv                 columns id,amount_cents
  migrate --to chained|plain [--dry-run]
flags:
  --address HOST:PORT     the ledger                                       (127.0.0.1:7443)
  --tls-ca FILE           PEM of who signed its certificate; without it plaintext
  --identity-file [AUDIENCE=]FILE, --identity-token [AUDIENCE=]TOKEN   who you are; may be repeated
  --as PRINCIPAL [--groups A,B]      instead, with an authority that runs with --dev and BREVET_DEV_CODE set
  --authority URL         elevate: ask, wait and go on where the call needs it
  --audience NAME         (payments-prod)
  --for 15m               for how long to ask
  --wait 10m --reason "OPS-7 charged twice"   how long to wait for an approval, and what approvers read`;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    address: { type: "string", default: "127.0.0.1:7443" },
    "tls-ca": { type: "string" },
    "identity-file": { type: "string", multiple: true, default: [] },
    "identity-token": { type: "string", multiple: true, default: [] },
    as: { type: "string" },
    groups: { type: "string" },
    authority: { type: "string" },
    audience: { type: "string", default: "payments-prod" },
    wait: { type: "string", default: "10m" },
    reason: { type: "string" },
    for: { type: "string" },
    charge: { type: "string", default: "" },
    amount: { type: "string", default: "" },
    currency: { type: "string", default: "" },
    account: { type: "string", default: "" },
    to: { type: "string", default: "" },
    "dry-run": { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

/** One interceptor or none: elevation where an authority is named, otherwise only who calls. */
async function interceptors(identity: Identity | undefined): Promise<Interceptor[]> {
  if (flags.authority === undefined) return identity === undefined ? [] : [bearer(await identity(flags.audience))];
  if (identity === undefined) throw new Error("--authority needs an identity: --identity-file, --identity-token or --as");
  return [
    elevate({
      authority: flags.authority,
      audience: flags.audience,
      identity,
      wait: flags.wait,
      ...(flags.reason === undefined ? {} : { reason: flags.reason }),
      ...(flags.for === undefined ? {} : { for: flags.for }),
      onProgress: (event) => console.error(describeProgress(event)),
    }),
  ];
}

/** What any gRPC client does about identity: a bearer token in the metadata. */
function bearer(token: string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, listener, next) {
        metadata.set("authorization", `Bearer ${token}`);
        next(metadata, listener);
      },
    });
}

async function main(): Promise<number> {
  const [name = "", ...words] = positionals;
  const command = commands[name];
  if (flags.help) {
    console.log(USAGE);
    return 0;
  }
  if (command === undefined) {
    console.error(USAGE);
    return 2;
  }
  const identity = identityFrom({
    files: flags["identity-file"],
    tokens: flags["identity-token"],
    as: flags.as,
    groups: flags.groups,
    authority: flags.authority ?? process.env.BREVET_AUTHORITY ?? "http://127.0.0.1:7400",
    code: process.env.BREVET_DEV_CODE,
  });
  const ca = flags["tls-ca"];
  const credentials = ca === undefined ? ChannelCredentials.createInsecure() : ChannelCredentials.createSsl(readFileSync(ca));
  const client = new LedgerClient(flags.address, credentials, { interceptors: await interceptors(identity) });
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  try {
    await command(client, { ...flags, dryRun: flags["dry-run"], words, print: (line) => console.log(line), signal: interrupted.signal });
    return 0;
  } catch (error) {
    const failure = describeFailure(error);
    if (failure === undefined) throw error;
    console.error(`${failure.codeName}  ${failure.message}`);
    console.log(JSON.stringify({ error: failure }));
    return 1;
  } finally {
    client.close();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`ledger: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
