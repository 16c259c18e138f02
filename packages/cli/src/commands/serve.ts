// serve: runs the authority in this process, until SIGTERM or Ctrl-C, which drain it.
import type { Authority, AuthorityOptions } from "@brevet/authority";
import { DEFAULT_ADMIN_PORT, DEFAULT_AUTHORITY_AUDIENCE, DEFAULT_PORT } from "@brevet/protocol";
import { Command } from "commander";
import { parse } from "yaml";
import { DEFAULT_DATA } from "../connection/identity.ts";
import { CommandError, exitStatus } from "../output/status.ts";
import { version } from "../version.ts";
import type { CommandContext } from "./context.ts";
import { readInput, readPolicyFile, readText } from "./files.ts";
import { loggerAt } from "./logger.ts";

interface ServeOptions {
  readonly config?: string;
  readonly listen: string;
  readonly adminListen: string;
  readonly data: string;
  readonly policy?: string[];
  readonly descriptors?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly clientCa?: string;
  readonly audience: string;
  readonly publicUrl?: string;
  readonly dev?: boolean;
  readonly acceptClock?: boolean;
  readonly logLevel: string;
}

/** `brevet serve`. */
export function serveCommand(context: CommandContext): Command {
  return new Command("serve")
    .description("run the authority: policy, workflow, grants and the log, in one process")
    .option("--config <file>", "these options from a file (YAML, names as here without dashes); the command line wins")
    .option("--listen <address>", "gRPC, Connect, JSON and pages", `127.0.0.1:${DEFAULT_PORT}`)
    .option("--admin-listen <address>", 'health; "off" for none', `127.0.0.1:${DEFAULT_ADMIN_PORT}`)
    .option("--data <dir>", "directory of the embedded store", DEFAULT_DATA)
    .option("--policy <files...>", "policy documents that seed an empty log; later differences are reported, never applied")
    .option("--descriptors <image>", "descriptor set for them; default: what each document names")
    .option("--tls-cert <file>", "certificate chain (PEM); needed beyond loopback")
    .option("--tls-key <file>", "its key (PEM)")
    .option("--client-ca <file>", "authorities of client certificates (PEM)")
    .option("--audience <name>", "the authority's own audience, for identity tokens made for it", DEFAULT_AUTHORITY_AUDIENCE)
    .option("--public-url <url>", "where people reach its pages; default: where it listens")
    .option("--dev", "loopback only: sign in made-up people with a printed code; the data directory is marked, and refused without --dev")
    .option(
      "--accept-clock",
      "the clock is right: start though it is 5 minutes before, or 30 days after, the last time that the authority knew",
    )
    .option("--log-level <level>", "pino level", "info")
    .action(async (given: ServeOptions, command: Command) => {
      const options = await withConfig(given, command);
      const logger = loggerAt(options.logLevel, "authority");
      await using authority = await start(options, logger);
      announce(context, authority, options);
      await new Promise<void>((resolve) => {
        if (context.signal.aborted) resolve();
        context.signal.addEventListener("abort", () => resolve(), { once: true });
      });
      context.output.note("Draining: streams end, nothing new is taken.");
      await authority.drain();
    });
}

async function start(options: ServeOptions, logger: NonNullable<AuthorityOptions["logger"]>): Promise<Authority> {
  if ((options.tlsCert === undefined) !== (options.tlsKey === undefined)) {
    throw new CommandError(exitStatus.misuse, "--tls-cert and --tls-key go together.");
  }
  const policies: NonNullable<AuthorityOptions["policies"]> = [];
  for (const file of options.policy ?? []) {
    const [text, { descriptors }] = await readPolicyFile(file, options.descriptors);
    policies.push({ file, text, ...(descriptors === undefined ? {} : { descriptors }) });
  }
  // Only this command needs the authority: the others start faster without.
  const { startAuthority } = await import("@brevet/authority");
  try {
    return await startAuthority({
      data: options.data,
      listen: address("--listen", options.listen),
      admin: options.adminListen === "off" ? false : address("--admin-listen", options.adminListen),
      policies,
      audience: options.audience,
      dev: options.dev ?? false,
      acceptClock: options.acceptClock ?? false,
      logger,
      ...(options.publicUrl === undefined ? {} : { publicUrl: options.publicUrl }),
      ...(options.tlsCert === undefined || options.tlsKey === undefined
        ? {}
        : {
            tls: {
              cert: await readInput(options.tlsCert),
              key: await readInput(options.tlsKey),
              ...(options.clientCa === undefined ? {} : { clientCa: await readInput(options.clientCa) }),
            },
          }),
    });
  } catch (error) {
    throw startError(error, options);
  }
}

/** What went wrong at the start, with what would help. */
function startError(error: unknown, options: ServeOptions): Error {
  if (error instanceof CommandError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") {
    return new CommandError(exitStatus.no, `Something listens already at ${options.listen} or ${options.adminListen}.`, {
      hints: ["Choose others: --listen 127.0.0.1:7500 --admin-listen 127.0.0.1:7501"],
    });
  }
  if (code === "locked") {
    return new CommandError(exitStatus.no, message, {
      hints: ["Another authority runs on it: stop that one, or give this one a directory of its own with --data DIR."],
    });
  }
  if (message.startsWith("POLICY_INVALID: ")) {
    const [file = "FILE"] = options.policy ?? [];
    return new CommandError(exitStatus.no, message, {
      reason: "POLICY_INVALID",
      hints: [`Correct it, and run: brevet policy check ${file}`],
    });
  }
  return error instanceof Error ? new CommandError(exitStatus.no, message) : new CommandError(exitStatus.no, String(error));
}

function announce({ output }: CommandContext, authority: Authority, options: ServeOptions): void {
  const dev = authority.dev;
  const lines = [
    `brevet ${version}: the authority listens at ${authority.url}`,
    ...(authority.adminUrl === undefined ? [] : [`health at ${authority.adminUrl}/healthz and /readyz`]),
    `data in ${options.data}`,
  ];
  if (dev !== undefined) {
    lines.push(
      "",
      "##############################################################################",
      "##  DEVELOPMENT MODE. Anybody on this machine with the code below can sign   ##",
      "##  in as anybody. Never use this directory, or this mode, for real access.  ##",
      "##############################################################################",
      `code: ${dev.code}`,
      "sign in as somebody made up: brevet list --as user:ana@example.com",
    );
  }
  output.event(lines.join("\n"), {
    event: "listening",
    url: authority.url,
    adminUrl: authority.adminUrl,
    data: options.data,
    ...(dev === undefined ? {} : { dev: { code: dev.code, issuer: dev.issuer } }),
  });
}

/** `host:port`, `[::1]:port`, or a port alone for loopback. */
export function address(name: string, text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-f:]+)\]|([^:]*)):(\d{1,5})$|^(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3] ?? match?.[4]);
  if (match === null || port > 65_535)
    throw new CommandError(exitStatus.misuse, `${name} ${text}: not an address.`, { hints: ["Write host:port, like 127.0.0.1:7400."] });
  return { host: match[1] ?? (match[2] === undefined || match[2] === "" ? "127.0.0.1" : match[2]), port };
}

async function withConfig(given: ServeOptions, command: Command): Promise<ServeOptions> {
  if (given.config === undefined) return given;
  const file = given.config;
  let read: unknown;
  try {
    read = parse(await readText(file));
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(exitStatus.misuse, `${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (read === null || typeof read !== "object" || Array.isArray(read))
    throw new CommandError(exitStatus.misuse, `${file} has no options in it.`);
  const known = new Map(command.options.map((option) => [option.long?.slice(2) ?? "", option.attributeName()]));
  const merged: ServeOptions = { ...given };
  for (const [name, value] of Object.entries(read)) {
    const attribute = known.get(name);
    if (attribute === undefined || name === "config") {
      throw new CommandError(exitStatus.misuse, `${file}: there is no option "${name}".`, {
        hints: [`There are: ${[...known.keys()].filter((key) => key !== "config").join(", ")}`],
      });
    }
    const isSwitch = name === "dev" || name === "accept-clock";
    const wanted = name === "policy" ? "a list of files" : isSwitch ? "true or false" : "text";
    const right =
      name === "policy"
        ? Array.isArray(value) && value.every((item) => typeof item === "string")
        : typeof value === (isSwitch ? "boolean" : "string");
    if (!right) throw new CommandError(exitStatus.misuse, `${file}: ${name} is ${wanted}.`);
    if (command.getOptionValueSource(attribute) !== "cli") Object.assign(merged, { [attribute]: value });
  }
  return merged;
}
