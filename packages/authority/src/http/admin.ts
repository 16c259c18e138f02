// The administrative port: whether the process lives and whether it takes calls. Shows nothing else.
import type { RequestHandler } from "./listen.ts";
import { json, pathOf, send } from "./requests.ts";

/** `ready` answers with a problem, or undefined. */
export function adminHandler({ ready }: { readonly ready: () => Promise<string | undefined> }): RequestHandler {
  return (request, response) => {
    const reads = request.method === "GET" || request.method === "HEAD";
    if (reads && pathOf(request) === "/healthz") return send(request, response, json(200, { status: "alive" }));
    if (!reads || pathOf(request) !== "/readyz") return send(request, response, json(404, { error: "nothing here" }));
    ready().then(
      (problem) =>
        send(request, response, problem === undefined ? json(200, { status: "ready" }) : json(503, { status: "not ready", problem })),
      () => send(request, response, json(503, { status: "not ready", problem: "the store does not answer" })),
    );
  };
}
