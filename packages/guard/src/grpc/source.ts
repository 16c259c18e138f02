// The guard's own identity from a file that something else keeps fresh.
import { readFile, stat } from "node:fs/promises";
import type { IdentitySource } from "../link/connection.ts";

/** The text of a file, without the white space around it; read again when the file changes. Rejects where there is no file, or nothing in it. */
export function fromFile(path: string): IdentitySource {
  let version = "";
  let token = "";
  return async () => {
    const { mtimeMs, size, ino } = await stat(path);
    const now = `${mtimeMs}/${size}/${ino}`;
    if (now !== version) {
      token = (await readFile(path, "utf8")).trim();
      version = now;
    }
    if (token === "") throw new Error(`${path} is empty`);
    return token;
  };
}
