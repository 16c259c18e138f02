// Where the library logs to: the program's own logger, in the shape that pino has. Never the console by itself.

/** A structured logger; pino and its kin fit as they are. */
export interface ClientLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}
