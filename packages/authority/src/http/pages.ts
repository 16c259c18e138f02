// The few pages without a sign-in: the grant keys, and what to run for an elevation or an entitlement that a refusal links to. They show
// nothing that the authority knows: not even whether the elevation exists.
import type { Grants } from "../issuer/grants.ts";

/** An answer. */
export interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  /** Seconds that it may be kept. */
  readonly maxAge?: number;
}

const ELEVATION = /^\/e\/(elv_[0-9A-Z]{26})$/;
const ENTITLEMENT = /^\/r\/([A-Za-z0-9][A-Za-z0-9._-]{0,63})$/;

/** The page at a path; undefined where there is none. */
export async function pageAt(path: string, { grants, url }: { readonly grants: Grants; readonly url: string }): Promise<Page | undefined> {
  if (path === "/.well-known/jwks.json") return { status: 200, type: "application/json", body: await grants.jwks(), maxAge: 60 };
  const elevation = ELEVATION.exec(path)?.[1];
  if (elevation !== undefined) {
    return instructions(`Elevation ${elevation}`, [
      ["See who asks for what, and why", `brevet show ${elevation} --authority ${url}`],
      ["Approve it", `brevet approve ${elevation} --authority ${url}`],
      ["Say no", `brevet deny ${elevation} --comment "…" --authority ${url}`],
    ]);
  }
  const entitlement = ENTITLEMENT.exec(path)?.[1];
  if (entitlement !== undefined) {
    return instructions(`Ask for ${entitlement}`, [
      ["Ask, and wait for the approval", `brevet request METHOD --entitlement ${entitlement} --reason "…" --wait --authority ${url}`],
      ["See what you asked for", `brevet list --mine --authority ${url}`],
    ]);
  }
  return path === "/" ? instructions("Brevet", [["See what waits for you", `brevet list --decidable --authority ${url}`]]) : undefined;
}

function instructions(title: string, commands: readonly (readonly [what: string, command: string])[]): Page {
  const items = commands.map(([what, command]) => `<dt>${escape(what)}</dt><dd><code>${escape(command)}</code></dd>`).join("\n");
  const body = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(title)}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}code{display:block;background:#8882;padding:.5rem;overflow-x:auto}dd{margin:.25rem 0 1rem}</style>
<h1>${escape(title)}</h1>
<p>Run this in a terminal, signed in as yourself. This page knows nothing of the request itself.</p>
<dl>
${items}
</dl>
</html>
`;
  return { status: 200, type: "text/html; charset=utf-8", body };
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
