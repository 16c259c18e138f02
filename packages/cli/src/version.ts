// The version of the command line, from its package.
import { readFileSync } from "node:fs";

/** Semantic version. */
export const version = (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }).version;
