#!/usr/bin/env node
// The ledger as a process: flags, data file, TLS, the guard, and an orderly end. Prints one JSON line when it listens.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { fromFile, guard } from "@brevet/guard/grpc";
import { ServerCredentials } from "@grpc/grpc-js";
import { Book } from "./book.ts";
import { identityFrom } from "./identity.ts";
import { createLedgerServer } from "./ledger.ts";
import { readCharges } from "./statement.ts";

const USAGE = `usage: node examples/ledger/src/server.ts [flags]
  --listen HOST:PORT      where to listen; port 0 takes any free one       (127.0.0.1:7443)
  --data FILE             the book, a SQLite file; made where there is none (ledger.db)
  --seed FILE.csv         charges to begin an empty book with
  --tls-cert FILE --tls-key FILE   PEM; without them plaintext, on loopback only
  --authority URL         the Brevet authority                             (http://127.0.0.1:7400)
  --audience NAME         the deployment that the policy governs           (payments-prod)
  --identity-file FILE    the ledger's own token for the authority; read again when it changes
  --as PRINCIPAL          instead of a file, with an authority that runs with --dev and BREVET_DEV_CODE set
  --state DIR             where the guard keeps what it knows, to go on after a restart without the authority
  --unguarded             without Brevet: everybody may do everything`;

const GRACE_MS = 2_500;

const { values: flags } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:7443" },
    data: { type: "string", default: "ledger.db" },
    seed: { type: "string" },
    "tls-cert": { type: "string" },
    "tls-key": { type: "string" },
    authority: { type: "string", default: process.env.BREVET_AUTHORITY ?? "http://127.0.0.1:7400" },
    audience: { type: "string", default: "payments-prod" },
    "identity-file": { type: "string" },
    as: { type: "string" },
    state: { type: "string" },
    unguarded: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

/** TLS with the certificate and key of the flags; without, plaintext, which no address but loopback gets. */
function credentials(host: string): ServerCredentials {
  const cert = flags["tls-cert"];
  const key = flags["tls-key"];
  if (cert !== undefined && key !== undefined) {
    return ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(cert), private_key: readFileSync(key) }]);
  }
  if (cert !== undefined || key !== undefined) throw new Error("--tls-cert and --tls-key go together");
  if (!/^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(host))
    throw new Error(`plaintext on ${host} is refused: give --tls-cert and --tls-key`);
  return ServerCredentials.createInsecure();
}

/** The ledger's own identity, by which it proves to the authority that it may enforce for the audience. */
function identity() {
  if (flags["identity-file"] !== undefined) return fromFile(flags["identity-file"]);
  const source = identityFrom({ files: [], tokens: [], as: flags.as, authority: flags.authority, code: process.env.BREVET_DEV_CODE });
  if (source === undefined)
    throw new Error("a guarded ledger needs --identity-file FILE (or --as PRINCIPAL with a development authority); or say --unguarded");
  return source;
}

async function main(): Promise<void> {
  if (flags.help) return console.log(USAGE);
  const host = flags.listen.slice(0, flags.listen.lastIndexOf(":"));
  const tls = credentials(host);

  // All of Brevet that a service needs: the guard, its interceptor, and to wait until it knows the policy.
  const { authority, audience, state } = flags;
  const payments = flags.unguarded
    ? undefined
    : guard({ authority, audience, identity: identity(), ...(state !== undefined && { state }) });
  const book = new Book(flags.data);
  const guarded = payments && { interceptors: [payments.interceptor], addProbe: payments.addProbe };
  const ledger = createLedgerServer({ book, ...guarded });

  if (flags.seed !== undefined && book.size === 0) {
    const seeded = book.charge(readCharges(readFileSync(flags.seed, "utf8")));
    if (!seeded.ok) throw new Error(`${flags.seed}: ${seeded.message}`);
  }
  const port = await ledger.listen(flags.listen, tls);

  const stopping = new AbortController();
  const stop = async () => {
    if (stopping.signal.aborted) return;
    stopping.abort();
    await ledger.drain(GRACE_MS);
    await payments?.close();
    book[Symbol.dispose]();
  };
  process.on("SIGTERM", () => void stop());
  process.on("SIGINT", () => void stop());

  console.log(
    JSON.stringify({ address: `${host}:${port}`, tls: flags["tls-cert"] !== undefined, guarded: !flags.unguarded, entries: book.size }),
  );
  try {
    await payments?.ready(stopping.signal);
    if (!stopping.signal.aborted) ledger.serving();
  } catch (error) {
    if (stopping.signal.aborted) return;
    await stop();
    throw error;
  }
}

try {
  await main();
} catch (error) {
  console.error(`ledger: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
