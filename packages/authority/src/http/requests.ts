// Which request goes where: methods, development sign-in, pages. Answers what is left over. Never decides who may do what.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { Logger } from "pino";
import type { DevelopmentIssuer } from "../identity/development.ts";
import type { Grants } from "../issuer/grants.ts";
import type { RequestHandler } from "./listen.ts";
import { type Page, pageAt } from "./pages.ts";
import type { RpcHandler } from "./rpc.ts";

const MAX_BODY_BYTES = 16 * 1024;

/** What answers. */
export interface RequestsOptions {
  readonly rpc: RpcHandler;
  readonly grants: Grants;
  readonly development: DevelopmentIssuer | undefined;
  /** Origin of the pages. */
  readonly publicUrl: () => string;
  readonly logger: Logger;
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

/** Answers while the authority starts: gRPC clients read it as UNAVAILABLE. */
export const notYet: RequestHandler = (request, response) =>
  send(request, response, { status: 503, type: "text/plain; charset=utf-8", body: "the authority starts; try again\n" });

/** The handler of the authority's port. */
export function requestHandler(options: RequestsOptions): RequestHandler {
  return (request, response) => {
    try {
      if (options.rpc(request, response)) return;
    } catch (error) {
      options.logger.warn({ err: error }, "a request could not be read");
      return send(request, response, { status: 400, type: "text/plain; charset=utf-8", body: "not a request\n" });
    }
    answer(request, options)
      .then((page) => send(request, response, page))
      .catch((error: unknown) => {
        options.logger.error({ err: error, path: pathOf(request) }, "a page failed");
        send(request, response, { status: 500, type: "text/plain; charset=utf-8", body: "the authority failed; its log says why\n" });
      });
  };
}

async function answer(request: Request, { development, grants, publicUrl }: RequestsOptions): Promise<Page> {
  const path = pathOf(request);
  const method = request.method ?? "";
  if (development && path.startsWith("/dev/")) {
    const body = method === "POST" ? await bodyOf(request) : "";
    if (body === undefined) return json(413, { error: `at most ${MAX_BODY_BYTES} bytes` });
    const contentType = request.headers["content-type"] ?? "";
    const answered = await development.answer({ method, path, host: hostOf(request), body, contentType });
    if (answered) return json(answered.status, answered.body);
  }
  if (method === "GET" || method === "HEAD") {
    const page = await pageAt(path, { grants, url: publicUrl() });
    if (page) return page;
  }
  return { status: 404, type: "text/plain; charset=utf-8", body: "nothing here\n" };
}

/** Sends a page, with headers that keep browsers from guessing and framing. */
export function send(request: Request, response: Response, { status, type, body, maxAge }: Page): void {
  if (response.headersSent || response.destroyed) return;
  const bytes = Buffer.from(body);
  const headers = {
    "content-type": type,
    "content-length": bytes.length,
    "cache-control": maxAge === undefined ? "no-store" : `public, max-age=${maxAge}`,
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
  if ("stream" in response) response.writeHead(status, headers);
  else response.writeHead(status, headers);
  if (request.method === "HEAD") response.end();
  else response.end(bytes);
}

/** A page of JSON. */
export function json(status: number, value: unknown): Page {
  return { status, type: "application/json", body: `${JSON.stringify(value)}\n` };
}

/** The path of a request, without its query. */
export function pathOf(request: Request): string {
  return request.url?.split("?", 1)[0] ?? "";
}

function hostOf(request: Request): string {
  return ("stream" in request ? request.authority : undefined) ?? request.headers.host ?? "";
}

async function bodyOf(request: Request): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request) {
    const chunk = part as Buffer;
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) return undefined;
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString("utf8");
}
