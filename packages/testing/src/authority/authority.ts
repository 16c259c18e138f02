// A real authority in this process: embedded store in a directory of its own, free ports on loopback. Nothing in it is faked but, where one
// is given, the clock.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Authority, type AuthorityOptions, startAuthority } from "@brevet/authority";

/** As for an authority; `policy` is a document's text. */
export interface TestAuthorityOptions extends Omit<AuthorityOptions, "data" | "policies"> {
  /** Default: a new directory, removed at the end. */
  readonly data?: string;
  /** Seeds the log; `descriptors` goes with it. */
  readonly policy?: string;
  readonly policies?: AuthorityOptions["policies"];
  readonly descriptors?: Uint8Array;
}

/** An authority under test. */
export interface TestAuthority extends AsyncDisposable {
  /** The one that runs now. */
  readonly authority: Authority;
  readonly url: string;
  readonly data: string;
  /** An identity token of a made-up person for the authority, or for `audience`. Needs `dev`, which is the default. */
  token(
    principal: string,
    options?: { readonly groups?: readonly string[]; readonly audience?: string; readonly ttl?: number },
  ): Promise<string>;
  /** Ends it and starts it again on the same data and the same port, as `down` has run in between. */
  restart(down?: () => Promise<void> | void): Promise<void>;
}

/** Starts one, with `--dev` unless told otherwise. */
export async function startTestAuthority(options: TestAuthorityOptions = {}): Promise<TestAuthority> {
  const { policy, descriptors, policies, data: given, ...rest } = options;
  const data = given ?? (await mkdtemp(join(tmpdir(), "brevet-authority-")));
  const seeds = policy === undefined ? (policies ?? []) : [{ file: "policy.yaml", text: policy, ...(descriptors ? { descriptors } : {}) }];
  const base: AuthorityOptions = { dev: true, admin: false, logger: false, ...rest, data, policies: seeds };
  const remove = async () => {
    if (given === undefined) await rm(data, { recursive: true, force: true });
  };
  let authority: Authority;
  try {
    authority = await startAuthority(base);
  } catch (error) {
    await remove();
    throw error;
  }
  const audience = rest.audience ?? "brevet";
  return {
    get authority() {
      return authority;
    },
    get url() {
      return authority.url;
    },
    data,
    async token(principal, asked = {}) {
      if (authority.dev === undefined) throw new Error("made-up people can only be signed in with dev: true");
      return authority.dev.token(principal, { audience, ...asked });
    },
    async restart(down) {
      const { hostname, port } = new URL(authority.url);
      await authority[Symbol.asyncDispose]();
      await down?.();
      const host = hostname.replaceAll(/[[\]]/g, "");
      authority = await startAuthority({ ...base, listen: { host, port: Number(port) } });
    },
    async [Symbol.asyncDispose]() {
      await authority[Symbol.asyncDispose]();
      await remove();
    },
  };
}
