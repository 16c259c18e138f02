// Repeats of a changing call with the same idempotency id: whether the repeat asks for the same as the first time, in every field.
// Never decides anew. What was not written at the first time (a refusal, an answer without change) is judged again.
import { hash } from "node:crypto";
import { LogEntrySchema } from "@brevet/protocol/brevet/v1/log";
import { type DescMessage, type DescMethodUnary, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { View } from "../store/store.ts";
import type { Answer } from "./caller.ts";
import { invalid } from "./refusal.ts";
import { requestId, sameBytes } from "./terms.ts";

/** A changing call: its idempotency id, and what the log's entry commits to (`LogEntry.request_terms`). */
export interface Call {
  readonly requestId: string;
  /** SHA-256. */
  readonly terms: Uint8Array;
}

/** What a call wrote first. */
export interface FirstEntry {
  /** "" for none. */
  readonly elevation: string;
  readonly revision: bigint;
}

/** A call as the log will know it; refused where its id is none. */
export function callOf<I extends DescMessage>(
  method: DescMethodUnary<I>,
  message: MessageShape<I> & { readonly requestId: string },
): Answer<Call> {
  const id = requestId(message.requestId);
  if (!id.ok) return id;
  // What the caller reports of an earlier denial is no term.
  const asked = toBinary(method.input, { ...message, requestId: "", report: undefined }, { writeUnknownFields: false });
  const terms = hash("sha256", Buffer.concat([Buffer.from(`${method.parent.typeName}/${method.name}\0`), asked]), "buffer");
  return { ok: true, value: { requestId: id.value, terms } };
}

/**
 * What the same call by this principal wrote first; undefined where it wrote nothing. Refused where the id was used for anything else.
 * @param actor The log's id; "" for somebody whom it never saw.
 */
export async function earlierCall(
  view: Pick<View, "request" | "entries" | "openings">,
  actor: string,
  call: Call,
): Promise<Answer<FirstEntry | undefined>> {
  const first = actor === "" ? undefined : await view.request(actor, call.requestId);
  if (first === undefined) return { ok: true, value: undefined };
  const [record] = await view.entries(first.revision - 1n, { limit: 1 });
  const commitment = record && fromBinary(LogEntrySchema, record.entry).requestTerms?.commitment;
  const terms = commitment && (await view.openings([commitment])).get(Buffer.from(commitment).toString("hex"));
  if (terms && sameBytes(terms, call.terms)) return { ok: true, value: first };
  const what = terms ? "something else" : "what has been erased since";
  return invalid("request_id", `${call.requestId} was used before, for ${what}; choose a new one`);
}
