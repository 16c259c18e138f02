// The few pages without a sign-in: the grant keys, what to run for an elevation or an entitlement that a refusal links to, and the reasons.
// They show nothing that the authority knows: not even whether the elevation exists.
import type { Grants } from "../issuer/grants.ts";
import { html, pageOf } from "./html.ts";
import { reasonPage, reasonsPage } from "./reasons.ts";

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
const REASON = /^\/reasons\/([A-Z_]{3,64})$/;
const REASONS_MAX_AGE = 3600;

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
  if (path === "/reasons") return page(reasonsPage(), REASONS_MAX_AGE);
  const reason = REASON.exec(path)?.[1];
  const body = reason === undefined ? undefined : reasonPage(reason);
  if (body !== undefined) return page(body, REASONS_MAX_AGE);
  return path === "/" ? instructions("Brevet", [["See what waits for you", `brevet list --decidable --authority ${url}`]]) : undefined;
}

function instructions(title: string, commands: readonly (readonly [what: string, command: string])[]): Page {
  const items = commands.map(([what, command]) => html`<dt>${what}</dt><dd><code>${command}</code></dd>\n`);
  return page(
    pageOf(
      title,
      html`<p>Run this in a terminal, signed in as yourself. This page knows nothing of the request itself.</p>\n<dl>\n${items}</dl>\n`,
    ),
  );
}

function page(body: string, maxAge?: number): Page {
  return { status: 200, type: "text/html; charset=utf-8", body, ...(maxAge === undefined ? {} : { maxAge }) };
}
