// Files that commands read: a policy document, and the descriptor image that it names beside itself.
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

/** The arguments of `loadPolicy` for a document on disk. `descriptors` in the document is a path relative to it. */
export async function readPolicyFile(
  file: string,
  image: string | undefined,
): Promise<[text: string, options: { file: string; descriptors?: Uint8Array }]> {
  const text = (await readInput(file)).toString("utf8");
  const named = /^descriptors:\s*["']?([^"'#\n]+?)["']?\s*(#.*)?$/m.exec(text)?.[1];
  const path = image ?? (named === undefined ? undefined : resolve(dirname(file), named));
  return [text, { file, ...(path === undefined ? {} : { descriptors: new Uint8Array(await readInput(path)) }) }];
}
