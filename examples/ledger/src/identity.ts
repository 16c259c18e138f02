// Where an identity token comes from: a token, files that something else keeps fresh, or the sign-in of an authority that runs with --dev.
// Never prints a token.
import { readFile } from "node:fs/promises";

/** Gives a token for an audience. The service and the authority are two audiences: no token is good for both. */
export type Identity = (audience: string) => Promise<string>;

/** As given by flags. */
export interface IdentityFlags {
  /** `FILE`, for every audience that has none of its own, or `AUDIENCE=FILE`. Read anew for each call. */
  readonly files: readonly string[];
  /** As `files`, with the tokens themselves. */
  readonly tokens: readonly string[];
  /** Principal to sign in at a development authority. */
  readonly as?: string | undefined;
  /** Its groups, comma-separated. */
  readonly groups?: string | undefined;
  /** URL of the development authority. */
  readonly authority: string;
  /** The code that `brevet serve --dev` printed. */
  readonly code?: string | undefined;
}

/** The source that the flags name; undefined if they name none. @throws Error where a sign-in lacks its code. */
export function identityFrom(flags: IdentityFlags): Identity | undefined {
  const files = byAudience(flags.files);
  const tokens = byAudience(flags.tokens);
  if (files.size === 0 && tokens.size === 0) return flags.as === undefined ? undefined : signIn(flags, flags.as);
  return async (audience) => {
    const file = files.get(audience) ?? files.get("");
    const token = tokens.get(audience) ?? (file === undefined ? tokens.get("") : (await readFile(file, "utf8")).trim());
    if (token === undefined) throw new Error(`no identity token for the audience ${audience}; add --identity-file ${audience}=FILE`);
    return token;
  };
}

function byAudience(words: readonly string[]): Map<string, string> {
  return new Map(
    words.map((word) => {
      const [, audience = "", value = ""] = /^(?:([A-Za-z0-9._-]+)=)?([^]*)$/.exec(word) ?? [];
      return [audience, value];
    }),
  );
}

const RENEW_BEFORE_MS = 60_000;

function signIn(flags: IdentityFlags, principal: string): Identity {
  if (flags.code === undefined) throw new Error("--as needs the code that `brevet serve --dev` printed: set BREVET_DEV_CODE to it");
  const groups = flags.groups?.split(",").filter((group) => group !== "") ?? [];
  const known = new Map<string, { token: string; expiresMs: number }>();
  return async (audience) => {
    const kept = known.get(audience);
    if (kept !== undefined && kept.expiresMs - RENEW_BEFORE_MS > Date.now()) return kept.token;
    const response = await fetch(new URL("/dev/token", flags.authority), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ code: flags.code, principal, groups, audience }),
    });
    if (!response.ok)
      throw new Error(`the authority did not sign in ${principal}: ${response.status} ${(await response.text()).slice(0, 200)}`);
    const { token, expiresAt } = (await response.json()) as { token: string; expiresAt: string | number };
    known.set(audience, { token, expiresMs: new Date(expiresAt).getTime() });
    return token;
  };
}
