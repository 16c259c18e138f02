// Who the person or program at the command line is: where its identity token comes from. Never prints a token.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CommandError, exitStatus } from "../output/status.ts";

/** The options by which one says who one is. */
export interface IdentityOptions {
  /** A made-up person of an authority that runs with `--dev`. */
  readonly as?: string;
  /** Their groups, comma-separated. */
  readonly groups?: string;
  readonly tokenFile?: string;
  /** The embedded store's directory, in which a development authority leaves its code. */
  readonly devData?: string;
}

/** Gives a token for an audience. */
export type TokenSource = (audience: string) => Promise<string>;

/** The directory of the embedded store, unless said otherwise. */
export const DEFAULT_DATA = ".brevet";

/** The token source that the options and the environment name; undefined if none does. */
export function tokenSource(authority: string, options: IdentityOptions): TokenSource | undefined {
  if (options.as !== undefined) return developmentToken(authority, options.as, options);
  const file = options.tokenFile ?? process.env.BREVET_TOKEN_FILE;
  if (file !== undefined) return async () => (await readTokenFile(file)).trim();
  const token = process.env.BREVET_TOKEN;
  if (token !== undefined && token !== "") return async () => token;
  const as = process.env.BREVET_AS;
  if (as !== undefined && as !== "") return developmentToken(authority, as, { groups: process.env.BREVET_GROUPS ?? "", ...options });
  return undefined;
}

async function readTokenFile(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new CommandError(
      exitStatus.unreachable,
      `The token file ${file} cannot be read: ${(error as NodeJS.ErrnoException).code ?? "error"}.`,
    );
  }
}

/** Signs in a made-up person at the authority's development issuer. Tokens are reused while they are good for another minute. */
function developmentToken(authority: string, principal: string, options: IdentityOptions): TokenSource {
  const tokens = new Map<string, { token: string; expiresAt: number }>();
  return async (audience) => {
    const known = tokens.get(audience);
    if (known !== undefined && known.expiresAt - performance.timeOrigin - performance.now() > 60_000) return known.token;
    const code = await developmentCode(options);
    let response: Response;
    try {
      response = await fetch(new URL("/dev/token", authority), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ code, principal, groups: (options.groups ?? "").split(",").filter((group) => group !== ""), audience }),
      });
    } catch (error) {
      throw new CommandError(exitStatus.unreachable, `AUTHORITY_UNREACHABLE: no answer from ${authority} (${causeOf(error)}).`, {
        reason: "AUTHORITY_UNREACHABLE",
        hints: [
          "Is it running? Start one with: brevet serve --dev --policy FILE",
          "Elsewhere? Say where with --authority URL or BREVET_AUTHORITY.",
        ],
      });
    }
    const text = await response.text();
    if (!response.ok) throw refusedSignIn(response.status, text, principal);
    const { token, expiresAt } = JSON.parse(text) as { token: string; expiresAt: number | string };
    tokens.set(audience, { token, expiresAt: typeof expiresAt === "number" ? expiresAt : Date.parse(expiresAt) });
    return token;
  };
}

function refusedSignIn(status: number, text: string, principal: string): CommandError {
  if (status === 404) {
    return new CommandError(exitStatus.no, `The authority does not run with --dev, so ${principal} cannot be signed in by name.`, {
      hints: ["Use a token of a real issuer: --token-file FILE, BREVET_TOKEN_FILE or BREVET_TOKEN."],
    });
  }
  return new CommandError(exitStatus.no, `The authority did not sign in ${principal}: ${text.trim().slice(0, 300)}`);
}

async function developmentCode(options: IdentityOptions): Promise<string> {
  if (process.env.BREVET_DEV_CODE !== undefined) return process.env.BREVET_DEV_CODE;
  const file = join(options.devData ?? process.env.BREVET_DATA ?? DEFAULT_DATA, "dev.json");
  try {
    return (JSON.parse(await readFile(file, "utf8")) as { code: string }).code;
  } catch {
    throw new CommandError(exitStatus.misuse, `--as needs the code that "brevet serve --dev" printed, and ${file} is not here.`, {
      hints: ["Set BREVET_DEV_CODE to it, or name the authority's data directory with BREVET_DATA."],
    });
  }
}

/** The most telling part of a failed fetch or socket. */
export function causeOf(error: unknown): string {
  let cause = error;
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
  if (cause instanceof AggregateError && cause.errors[0] !== undefined) cause = cause.errors[0];
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code ?? (cause instanceof Error ? cause.message : String(cause));
}
