// An OpenID issuer on loopback: discovery, a key set, and signed tokens, right ones and every kind of wrong one. Counts what is fetched.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";

/** What a token is to be like; what is absent is right. */
export interface TokenOptions {
  /** `aud`. */
  readonly audience: string | readonly string[];
  readonly subject?: string;
  /** Further claims; undefined ones are left out, so that `{ exp: undefined }` makes a token without an end. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly issuer?: string;
  /** Seconds from now; default an hour. */
  readonly expiresIn?: number;
  /** Further header members; undefined ones are left out. */
  readonly header?: Readonly<Record<string, unknown>>;
}

interface Key {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

/** One issuer, until disposed. */
export class TestIssuer implements AsyncDisposable {
  /** `iss`: an http URL on loopback. */
  readonly issuer: string;
  readonly #server: Server;
  readonly #nowMs: () => number;
  #keys: Key[] = [];
  #made = 0;
  #down = false;
  #fetches = 0;

  private constructor(server: Server, nowMs: () => number) {
    this.#server = server;
    this.#nowMs = nowMs;
    this.issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** Starts one with one key. `nowMs`: the time that tokens are made at. */
  static async start(options: { readonly alg?: string; readonly port?: number; readonly nowMs?: () => number } = {}): Promise<TestIssuer> {
    const server = createServer((request, response) => {
      const answer = issuer.#answer(request.url ?? "");
      response.writeHead(answer === undefined ? (issuer.#down ? 503 : 404) : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? {}));
    });
    await new Promise<void>((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
    const issuer = new TestIssuer(server, options.nowMs ?? Date.now);
    await issuer.rotate(options.alg);
    return issuer;
  }

  /** How often a key set was fetched. */
  get fetches(): number {
    return this.#fetches;
  }

  /** Answers nothing but 503 while down. */
  setDown(down: boolean): void {
    this.#down = down;
  }

  /** A new key signs from now on; the old ones are no longer published, unless kept. */
  async rotate(alg: string = "ES256", options: { readonly keepOld?: boolean } = {}): Promise<void> {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    this.#made += 1;
    const kid = `key-${this.#made}`;
    const key = { kid, alg, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } };
    this.#keys = [key, ...(options.keepOld === true ? this.#keys : [])];
  }

  /** A token, signed with the newest key or with another issuer's. */
  async token(options: TokenOptions, signer: TestIssuer = this): Promise<string> {
    const key = signer.#newest();
    const issued = Math.floor(this.#nowMs() / 1000);
    const claims = {
      iss: options.issuer ?? this.issuer,
      sub: options.subject ?? "somebody",
      aud: options.audience,
      iat: issued,
      exp: issued + (options.expiresIn ?? 3600),
      ...options.claims,
    };
    const header = defined({ alg: key.alg, kid: this.#newest().kid, typ: "JWT", ...options.header });
    return new SignJWT(defined(claims)).setProtectedHeader({ alg: key.alg, ...header }).sign(key.privateKey);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  #newest(): Key {
    const [key] = this.#keys;
    if (key === undefined) throw new Error("the issuer has no key");
    return key;
  }

  #answer(path: string): unknown {
    if (this.#down) return undefined;
    if (path === "/.well-known/openid-configuration") return { issuer: this.issuer, jwks_uri: `${this.issuer}/keys` };
    if (path !== "/keys") return undefined;
    this.#fetches += 1;
    return { keys: this.#keys.map(({ publicJwk }) => publicJwk) };
  }
}

function defined(members: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
