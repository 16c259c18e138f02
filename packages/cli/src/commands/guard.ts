// guard: enforcement in front of a service in any language, in this process, until SIGTERM or Ctrl-C, which drain it.
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { Proxy, ProxyOptions } from "@brevet/guard/proxy";
import { DEFAULT_AUTHORITY_AUDIENCE } from "@brevet/protocol";
import { Command } from "commander";
import { authorityUrl, type ConnectionOptions } from "../connection/connection.ts";
import { type TokenSource, tokenSource } from "../connection/identity.ts";
import { withConnection } from "../connection/options.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { version } from "../version.ts";
import { durationOption } from "./ask.ts";
import type { CommandContext } from "./context.ts";
import { readInput } from "./files.ts";
import { loggerAt } from "./logger.ts";
import { address } from "./serve.ts";

interface GuardCommandOptions extends ConnectionOptions {
  readonly proxy: string;
  readonly upstream: string;
  readonly audience: string;
  readonly state?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly clientCa?: string;
  readonly insecureListen?: boolean;
  readonly upstreamTls?: boolean;
  readonly upstreamCa?: string;
  readonly upstreamCert?: string;
  readonly upstreamKey?: string;
  readonly upstreamName?: string;
  readonly insecureUpstream?: boolean;
  readonly adminListen: string;
  readonly drain: string;
  readonly logLevel: string;
}

/** `brevet guard`. */
export function guardCommand(context: CommandContext): Command {
  const command = new Command("guard")
    .description("enforce in front of a service in any language: callers come to the proxy, and what is permitted goes on to the service")
    .requiredOption("--proxy <address>", "where callers come: host:port, or unix:/path")
    .requiredOption("--upstream <address>", "the service: host:port, or unix:/path")
    .requiredOption("--audience <name>", "the deployment that the policy governs, and that callers' tokens are for")
    .option("--state <dir>", "directory to keep what is known in, for a restart while the authority is away");
  return withConnection(command)
    .option("--tls-cert <file>", "certificate chain shown to callers (PEM); needed beyond loopback")
    .option("--tls-key <file>", "its key (PEM)")
    .option("--client-ca <file>", "authorities of callers' certificates (PEM), for identities by certificate")
    .option("--insecure-listen", "take plaintext callers, with their tokens, from other machines too")
    .option("--upstream-tls", "call the service by TLS, with the system's authorities")
    .option("--upstream-ca <file>", "by TLS, with these authorities (PEM)")
    .option("--upstream-cert <file>", "client certificate shown to the service (PEM)")
    .option("--upstream-key <file>", "its key (PEM)")
    .option("--upstream-name <name>", "name that the service's certificate has to carry; default: the host")
    .option("--insecure-upstream", "send calls, with their tokens, in plaintext to another machine too")
    .option("--admin-listen <address>", 'health: /healthz and /readyz; "off" for none', "off")
    .option("--drain <duration>", "how long calls in hand may go on at the end", "10s")
    .option("--log-level <level>", "pino level", "info")
    .addHelpText(
      "after",
      `
Who the guard is: the policy lists its principal under "guards". --token-file FILE names its token for the authority, read again when
it changes; --cert and --key its client certificate; --as workload:NAME a made-up one, where the authority runs with --dev.

  brevet guard --proxy 127.0.0.1:8443 --upstream 127.0.0.1:50051 --audience payments-prod \\
    --authority https://brevet.acme.test:7400 --token-file /var/run/brevet/token --state /var/lib/brevet-guard

Only gRPC over HTTP/2 passes. docs/proxy.md says what is passed unchanged, and what is refused.`,
    )
    .action(async (options: GuardCommandOptions) => {
      const logger = loggerAt(options.logLevel, "guard");
      const url = authorityUrl(options);
      const admin = options.adminListen === "off" ? undefined : address("--admin-listen", options.adminListen);
      const prepared = { ...(await proxyOptions(options, url)), identity: await identity(url, options), logger };
      // Only this command needs the guard: the others start faster without.
      const { proxy } = await import("@brevet/guard/proxy");
      await using running = await started("--proxy", options.proxy, () => proxy(prepared));
      const health =
        admin === undefined ? undefined : await started("--admin-listen", options.adminListen, () => serveHealth(running, admin));
      try {
        announce(context, running, options, health?.url);
        void running.ready(context.signal).then(
          () => logger.info({ policyVersion: String(running.status().policyVersion) }, "ready: there is a policy to decide by"),
          () => {},
        );
        await aborted(context.signal);
        context.output.note("Draining: nothing new is taken, calls in hand finish.");
        await running.close();
      } finally {
        health?.server.close();
        health?.server.closeAllConnections();
      }
    });
}

async function proxyOptions(options: GuardCommandOptions, authority: string): Promise<Omit<ProxyOptions, "identity">> {
  const { tlsCert, tlsKey, clientCa, upstreamCa, upstreamCert, upstreamKey, upstreamName } = options;
  together("--tls-cert", tlsCert, "--tls-key", tlsKey);
  together("--upstream-cert", upstreamCert, "--upstream-key", upstreamKey);
  together("--cert", options.cert, "--key", options.key);
  if (clientCa !== undefined && tlsCert === undefined)
    throw new CommandError(exitStatus.misuse, "--client-ca needs --tls-cert and --tls-key.");
  const named = upstreamCa ?? upstreamCert ?? upstreamName;
  const upstreamTls = options.upstreamTls === true || named !== undefined;
  return {
    authority,
    audience: options.audience,
    authorityAudience: options.authorityAudience ?? DEFAULT_AUTHORITY_AUDIENCE,
    listen: options.proxy,
    upstream: options.upstream,
    tls: await pem({ ca: options.ca, cert: options.cert, key: options.key }),
    insecureListen: options.insecureListen ?? false,
    insecureUpstream: options.insecureUpstream ?? false,
    limits: { drainMs: durationOption("--drain", options.drain) },
    ...(options.state === undefined ? {} : { state: options.state }),
    ...(tlsCert === undefined || tlsKey === undefined
      ? {}
      : { listenTls: { cert: await readInput(tlsCert), key: await readInput(tlsKey), ...(await pem({ clientCa })) } }),
    ...(upstreamTls && {
      upstreamTls: {
        ...(await pem({ ca: upstreamCa, cert: upstreamCert, key: upstreamKey })),
        ...(upstreamName === undefined ? {} : { serverName: upstreamName }),
      },
    }),
  };
}

function together(one: string, first: string | undefined, other: string, second: string | undefined): void {
  if ((first === undefined) !== (second === undefined)) throw new CommandError(exitStatus.misuse, `${one} and ${other} go together.`);
}

/** The files that were named, read. */
async function pem<Name extends string>(files: Record<Name, string | undefined>): Promise<Partial<Record<Name, Buffer>>> {
  const read: Partial<Record<Name, Buffer>> = {};
  for (const name in files) {
    const file = files[name];
    if (file !== undefined) read[name] = await readInput(file);
  }
  return read;
}

/** The guard's own token for the authority. An authority that is away is waited for; what cannot get better is told now. */
async function identity(url: string, options: GuardCommandOptions): Promise<TokenSource> {
  const source = tokenSource(url, options);
  if (source === undefined) {
    if (options.cert !== undefined) return () => Promise.resolve("");
    throw new CommandError(exitStatus.misuse, "The guard needs an identity of its own for the authority.", {
      hints: ["--token-file FILE, --cert FILE --key FILE, or, where the authority runs with --dev, --as workload:NAME."],
    });
  }
  try {
    await source(options.authorityAudience ?? DEFAULT_AUTHORITY_AUDIENCE);
  } catch (error) {
    if (!(error instanceof CommandError) || error.reason !== "AUTHORITY_UNREACHABLE") throw error;
  }
  return source;
}

/** What goes wrong at the start, with what would help. */
async function started<T>(option: string, where: string, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (error instanceof TypeError) {
      const hints = /plaintext/.test(error.message) ? ["--insecure-listen and --insecure-upstream allow it all the same."] : [];
      throw new CommandError(exitStatus.misuse, `${error.message}.`, { hints });
    }
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE")
      throw new CommandError(exitStatus.no, `Something listens already at ${where}.`, { hints: [`Choose another address: ${option}`] });
    throw new CommandError(exitStatus.no, `It cannot listen at ${where}: ${error instanceof Error ? error.message : String(error)}.`);
  }
}

function announce({ output }: CommandContext, running: Proxy, options: GuardCommandOptions, adminUrl: string | undefined): void {
  const tls = options.tlsCert !== undefined;
  output.event(
    [
      `brevet ${version}: the guard of ${options.audience} listens at ${running.address}${tls ? " (TLS)" : ""}, in front of ${options.upstream}`,
      ...(adminUrl === undefined ? [] : [`health at ${adminUrl}/healthz and /readyz`]),
    ].join("\n"),
    { event: "listening", address: running.address, upstream: options.upstream, audience: options.audience, tls, adminUrl },
  );
}

/** `/healthz`: the process lives. `/readyz`: it has a policy to decide by; what is in the way is said. */
async function serveHealth(running: Proxy, { host, port }: { host: string; port: number }): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    const answer = (status: number, document: object): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(document)}\n`);
    };
    if (request.url === "/healthz") return answer(200, { status: "ok" });
    if (request.url !== "/readyz") return answer(404, { error: "there is /healthz and /readyz" });
    const { ready, connected, problem, policyProblem, upstreamProblem, policyVersion, calls } = running.status();
    answer(ready ? 200 : 503, { ready, connected, problem, policyProblem, upstreamProblem, policyVersion: String(policyVersion), calls });
  });
  server.listen(port, host);
  await once(server, "listening");
  const bound = server.address();
  const actual = typeof bound === "object" && bound !== null ? bound.port : port;
  return { server, url: `http://${host.includes(":") ? `[${host}]` : host}:${actual}` };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
