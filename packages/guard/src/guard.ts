// The guard's core, free of any transport: what is known, who calls, what is decided, how a refusal is said.
// Never opens a connection: link/ brings the knowledge, grpc/ and other forms bring the calls.
export {
  type ClientCertificate,
  type GuardDecision,
  type GuardedCall,
  type GuardPermit,
  type GuardRefusal,
  type RequestWanted,
  refuse,
} from "./core/call.ts";
export { Decider, type DeciderOptions, type Used } from "./core/decide.ts";
export { denialOf, type RefusedCall } from "./core/deny.ts";
export {
  isOpen,
  Knowledge,
  type KnowledgeWatcher,
  type KnownElevations,
  type KnownIssuer,
  type KnownKeys,
  type KnownPolicy,
} from "./core/knowledge.ts";
export type { RunningStream, Standing } from "./core/running.ts";
