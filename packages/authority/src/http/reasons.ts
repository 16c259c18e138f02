// The reasons as pages: what the catalogue says of each, for whoever has an error in front of them. The same for everybody.
import { catalogue, codeName, isReasonName, type ReasonName } from "@brevet/protocol";
import { html, type Markup, pageOf } from "./html.ts";

/** Text of the page of all reasons, by code. */
export function reasonsPage(): string {
  const byCode = Map.groupBy(Object.values(catalogue), ({ code }) => code);
  const parts = [...byCode].map(
    ([code, entries]) => html`<h2>${codeName(code)}</h2>
<dl>
${entries.map(({ reason, what }) => html`<dt><a href="/reasons/${reason}">${reason}</a></dt><dd>${what}</dd>\n`)}</dl>
`,
  );
  return pageOf("Why a call is refused", html`<p>Every refusal names one of these reasons, first in its message.</p>\n${parts}`);
}

/** Text of one reason's page; undefined if the catalogue has none such. */
export function reasonPage(name: string): string | undefined {
  return isReasonName(name) ? pageOf(name, entryMarkup(name)) : undefined;
}

function entryMarkup(name: ReasonName): Markup {
  const { code, what, causes, callerRemedy, operatorRemedy, retry, planned } = catalogue[name];
  return html`<p>${what}${planned ? " No release raises it yet." : ""}</p>
<h2>Why it comes</h2>
<ul>
${causes.map((cause) => html`<li>${cause}</li>\n`)}</ul>
<h2>What the caller does</h2>
<p>${callerRemedy}</p>
<h2>What the operator looks at</h2>
<p>${operatorRemedy}</p>
<p>gRPC code ${codeName(code)}; to be tried again: ${retry}. With the whole error: <code>brevet explain -</code> · <a href="/reasons">all reasons</a></p>
`;
}
