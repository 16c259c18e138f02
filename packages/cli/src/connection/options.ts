// The options by which a command reaches the authority, spelled the same for all of them.
import type { Command } from "commander";

/** Adds the connection options. */
export function withConnection(command: Command): Command {
  return command
    .option("--authority <url>", "where the authority is (BREVET_AUTHORITY; default http://127.0.0.1:7400)")
    .option("--token-file <file>", "identity token made for the authority (BREVET_TOKEN_FILE)")
    .option("--as <name>", "a made-up person like user:ana@example.com, where the authority runs with --dev (BREVET_AS)")
    .option("--groups <list>", "with --as: their groups, comma-separated (BREVET_GROUPS)")
    .option("--dev-data <dir>", "with --as: the authority's data directory, for its code (BREVET_DATA, BREVET_DEV_CODE)")
    .option("--authority-audience <name>", "audience of identity tokens for the authority", "brevet")
    .option("--ca <file>", "certificates to trust (PEM)")
    .option("--cert <file>", "client certificate (PEM)")
    .option("--key <file>", "its key (PEM)");
}
