// Files that commands read: a policy document, and the descriptor image that it names beside itself.
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { CommandError, exitStatus } from "../output/status.ts";

/** A file's bytes; misuse if it cannot be read. */
export async function readInput(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new CommandError(exitStatus.misuse, `${file} cannot be read: ${(error as NodeJS.ErrnoException).code ?? "error"}.`);
  }
}

/** A file's text; says where it is no UTF-8. A byte that became another would name somebody else. */
export async function readText(file: string): Promise<string> {
  const bytes = await readInput(file);
  if (isUtf8(bytes)) return bytes.toString("utf8");
  let start = 0;
  for (let line = 1; ; line += 1) {
    const end = bytes.indexOf(0x0a, start);
    const part = end < 0 ? bytes.subarray(start) : bytes.subarray(start, end);
    if (!isUtf8(part) || end < 0)
      throw new CommandError(exitStatus.no, `${file}:${line}: not text in UTF-8.`, { hints: ["Save the file as UTF-8."] });
    start = end + 1;
  }
}

/** The arguments of `loadPolicy` for a document on disk. `descriptors` in the document is a path relative to it. */
export async function readPolicyFile(
  file: string,
  image: string | undefined,
): Promise<[text: string, options: { file: string; descriptors?: Uint8Array }]> {
  const text = await readText(file);
  const named = /^descriptors:\s*["']?([^"'#\n]+?)["']?\s*(#.*)?$/m.exec(text)?.[1];
  const path = image ?? (named === undefined ? undefined : resolve(dirname(file), named));
  return [text, { file, ...(path === undefined ? {} : { descriptors: new Uint8Array(await readInput(path)) }) }];
}
