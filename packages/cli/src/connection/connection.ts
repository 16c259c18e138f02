// The command line's way to the authority: where it is, who asks, and the API's clients. One connection a command.
import { readFile } from "node:fs/promises";
import { DEFAULT_AUTHORITY_AUDIENCE, DEFAULT_PORT } from "@brevet/protocol";
import { ElevationService } from "@brevet/protocol/brevet/v1/elevation";
import { GuardService } from "@brevet/protocol/brevet/v1/guard";
import { LogService } from "@brevet/protocol/brevet/v1/log";
import { PolicyService } from "@brevet/protocol/brevet/v1/policy";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { CommandError, exitStatus } from "../output/status.ts";
import { type IdentityOptions, type TokenSource, tokenSource } from "./identity.ts";

/** The options that every command which talks to the authority takes. */
export interface ConnectionOptions extends IdentityOptions {
  readonly authority?: string;
  readonly authorityAudience?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** The API, with identity. */
export interface Connection {
  readonly url: string;
  readonly token: TokenSource | undefined;
  readonly elevations: Client<typeof ElevationService>;
  readonly policies: Client<typeof PolicyService>;
  readonly guards: Client<typeof GuardService>;
  readonly log: Client<typeof LogService>;
}

/** The authority's URL: option, BREVET_AUTHORITY, or the default port on this machine. */
export function authorityUrl(options: { readonly authority?: string }): string {
  const text = options.authority ?? process.env.BREVET_AUTHORITY ?? `http://127.0.0.1:${DEFAULT_PORT}`;
  let url: URL;
  try {
    url = new URL(text.includes("://") ? text : `https://${text}`);
  } catch {
    throw new CommandError(exitStatus.misuse, `"${text}" is not a URL.`, {
      hints: ["For example: --authority https://brevet.example.com:7400"],
    });
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new CommandError(exitStatus.misuse, `"${text}" is not an address of an authority.`, { hints: ["Use https://."] });
  }
  if (url.protocol === "http:" && !["127.0.0.1", "localhost", "[::1]"].includes(url.hostname)) {
    throw new CommandError(exitStatus.misuse, `${text} would send identity tokens in plaintext to another machine.`, {
      hints: ["Use https://."],
    });
  }
  return url.origin;
}

/** Prepares the clients; nothing is sent before the first call. */
export async function connect(options: ConnectionOptions): Promise<Connection> {
  const url = authorityUrl(options);
  const token = tokenSource(url, options);
  const identify: Interceptor = (next) => async (request) => {
    if (token !== undefined)
      request.header.set("authorization", `Bearer ${await token(options.authorityAudience ?? DEFAULT_AUTHORITY_AUDIENCE)}`);
    return next(request);
  };
  const transport = createGrpcTransport({
    baseUrl: url,
    interceptors: [identify],
    nodeOptions: {
      ...(options.ca === undefined ? {} : { ca: await readPem(options.ca) }),
      ...(options.cert === undefined ? {} : { cert: await readPem(options.cert) }),
      ...(options.key === undefined ? {} : { key: await readPem(options.key) }),
    },
  });
  return {
    url,
    token,
    elevations: createClient(ElevationService, transport),
    policies: createClient(PolicyService, transport),
    guards: createClient(GuardService, transport),
    log: createClient(LogService, transport),
  };
}

async function readPem(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new CommandError(exitStatus.misuse, `${file} cannot be read: ${(error as NodeJS.ErrnoException).code ?? "error"}.`);
  }
}
