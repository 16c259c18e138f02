// Makes text of unknown origin fit for a status: no control characters, no lone surrogates, no reordering of what a person reads.
// Owns caps in bytes; knows nothing of which field has which cap.

// C0, DEL, C1 and the line separators become a space; marks that reorder or hide text go away.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;
const INVISIBLE = /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const HARMLESS = /^[\u0020-\u007e]*$/;
const ELLIPSIS = "…";
const ELLIPSIS_BYTES = 3;

/** Length as UTF-8. Lone surrogates count as the replacement character does. */
export function utf8Length(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

/** `text` without what could harm a terminal, a header or a reader, at most `maxBytes` of UTF-8; what was cut ends in "…". */
export function sanitise(text: string, maxBytes: number): string {
  // A hostile megabyte is not walked: no character takes less than a byte, and what goes away is rare in what is honest.
  const start = text.length > 8 * maxBytes ? text.slice(0, 8 * maxBytes) : text;
  const clean = HARMLESS.test(start) ? start : start.toWellFormed().replace(INVISIBLE, "").replace(CONTROLS, " ");
  if (clean.length <= maxBytes && utf8Length(clean) <= maxBytes) return clean;
  let bytes = 0;
  let end = 0;
  for (const character of clean) {
    bytes += utf8Length(character);
    if (bytes > maxBytes - ELLIPSIS_BYTES) break;
    end += character.length;
  }
  return maxBytes < ELLIPSIS_BYTES ? "" : clean.slice(0, end) + ELLIPSIS;
}

/** Length of `text` once percent-encoded as `grpc-message` (gRPC over HTTP/2: all but 0x20 to 0x7E, and `%`). */
export function percentEncodedLength(text: string): number {
  let length = 0;
  for (const byte of Buffer.from(text, "utf8")) length += byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? 1 : 3;
  return length;
}
