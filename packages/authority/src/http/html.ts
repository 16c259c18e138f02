// HTML whose values are escaped by construction. Owns the frame of a page; no script, nothing from elsewhere.

/** Text that is markup already. Only {@link html} makes it. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Value = string | Markup | readonly Markup[];

/** Markup from a template: strings are escaped, markup stands as it is. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Markup {
  return new Markup(parts.reduce((text, part, i) => text + rendered(values[i - 1] ?? "") + part));
}

/** A whole document. */
export function pageOf(title: string, body: Markup): string {
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}code{background:#8882;padding:.1rem .3rem}dd code{display:block;padding:.5rem;overflow-x:auto}dd{margin:.25rem 0 1rem}</style>
<h1>${title}</h1>
${body}</html>
`.text;
}

function rendered(value: Value): string {
  if (typeof value === "string")
    return value
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      .replaceAll('"', "&quot;")
      .replaceAll("'", "&#39;");
  return value instanceof Markup ? value.text : value.map(({ text }) => text).join("");
}
