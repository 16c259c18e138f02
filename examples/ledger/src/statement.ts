// Reads charges and statement lines from comma-separated text: a first line that names the columns, no quotes, no commas in a field.

/** The rows, each with all of `columns`. @throws Error that names the line which is wrong. */
export function readRows<C extends string>(text: string, columns: readonly C[]): Record<C, string>[] {
  const [head = "", ...lines] = text.split(/\r?\n/);
  const names = head.split(",").map((name) => name.trim());
  const missing = columns.filter((column) => !names.includes(column));
  if (missing.length > 0) throw new Error(`line 1 must name the columns ${columns.join(",")}; missing: ${missing.join(",")}`);
  return lines.flatMap((line, index) => {
    if (line.trim() === "") return [];
    const fields = line.split(",").map((field) => field.trim());
    if (fields.length !== names.length) throw new Error(`line ${index + 2} has ${fields.length} fields, not ${names.length}`);
    return [Object.fromEntries(columns.map((column) => [column, fields[names.indexOf(column)]])) as Record<C, string>];
  });
}

/** A whole number of cents. @throws Error on anything else. */
export function cents(text: string): bigint {
  if (!/^-?[0-9]{1,18}$/.test(text)) throw new Error(`"${text}" is not a whole number of cents`);
  return BigInt(text);
}

/** Charges from the columns account, amount_cents, currency. */
export function readCharges(text: string): { account: string; amountCents: bigint; currency: string }[] {
  return readRows(text, ["account", "amount_cents", "currency"]).map(({ account, amount_cents, currency }) => ({
    account,
    amountCents: cents(amount_cents),
    currency,
  }));
}
