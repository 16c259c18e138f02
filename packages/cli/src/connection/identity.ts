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

const CODE_VARIABLE = "BREVET_DEV_CODE";
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
  if (!/^(user|workload|ci):\S+$/.test(principal)) {
    throw new CommandError(exitStatus.misuse, `"${principal}" is not a principal's name.`, {
      hints: ["Write --as user:sam@example.com, or workload:NAME or ci:NAME for a program."],
    });
  }
  const tokens = new Map<string, { token: string; expiresAt: number }>();
  return async (audience) => {
    const known = tokens.get(audience);
    if (known !== undefined && known.expiresAt - performance.timeOrigin - performance.now() > 60_000) return known.token;
    const { code, from } = await developmentCode(options);
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
    if (!response.ok) throw refusedSignIn(response.status, text, principal, from);
    const { token, expiresAt } = JSON.parse(text) as { token: string; expiresAt: number | string };
    tokens.set(audience, { token, expiresAt: typeof expiresAt === "number" ? expiresAt : Date.parse(expiresAt) });
    return token;
  };
}

function refusedSignIn(status: number, text: string, principal: string, from: string): CommandError {
  if (status === 404) {
    return new CommandError(exitStatus.no, `The authority does not run with --dev, so ${principal} cannot be signed in by name.`, {
      hints: ["Use a token of a real issuer: --token-file FILE, BREVET_TOKEN_FILE or BREVET_TOKEN."],
    });
  }
  const problem = problemIn(text) || `HTTP ${status}`;
  const cure =
    from === CODE_VARIABLE
      ? 'unset it, or set it to the code that "brevet serve --dev" printed.'
      : `name the directory of this one with --dev-data or BREVET_DATA, or set ${CODE_VARIABLE}.`;
  const hints = status === 401 ? [`It was taken from ${from}, which may be of another authority: ${cure}`] : [];
  return new CommandError(exitStatus.no, `${problem.charAt(0).toUpperCase()}${problem.slice(1)}: ${principal} was not signed in.`, {
    hints,
  });
}

/** The words of a refusal: its `error`, or all of it where it is something else's. */
function problemIn(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    if (typeof error === "string") return error;
  } catch {
    // Not the authority's own answer.
  }
  return text.trim().slice(0, 300);
}

/** The code of the authority that runs with `--dev`, and where it was found. */
async function developmentCode(options: IdentityOptions): Promise<{ code: string; from: string }> {
  const given = process.env[CODE_VARIABLE];
  if (given !== undefined) return { code: given, from: CODE_VARIABLE };
  const file = join(options.devData ?? process.env.BREVET_DATA ?? DEFAULT_DATA, "dev.json");
  try {
    return { code: (JSON.parse(await readFile(file, "utf8")) as { code: string }).code, from: file };
  } catch {
    throw new CommandError(exitStatus.misuse, `--as needs the code that "brevet serve --dev" printed, and ${file} is not here.`, {
      hints: ["Set BREVET_DEV_CODE to it, or name the authority's data directory with --dev-data or BREVET_DATA."],
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
