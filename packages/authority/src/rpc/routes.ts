// All services of the authority on one router: Brevet's own behind the gate, health and reflection open. Never wires what is behind them.
import { ElevationService, file_brevet_v1_elevation } from "@brevet/protocol/brevet/v1/elevation";
import { file_brevet_v1_guard, GuardService } from "@brevet/protocol/brevet/v1/guard";
import { file_brevet_v1_log, LogService } from "@brevet/protocol/brevet/v1/log";
import { file_brevet_v1_policy, PolicyService } from "@brevet/protocol/brevet/v1/policy";
import { reflectionHandlers } from "@brevet/protocol/reflection";
import type { Message } from "@bufbuild/protobuf";
import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import { type ElevationRpcOptions, elevationRpc } from "./elevation.ts";
import { guardRpc } from "./guard.ts";
import { health } from "./health.ts";
import { logRpc } from "./log.ts";
import { MAX_POLICY_REQUEST_BYTES, type PolicyRpcOptions, policyRpc } from "./policy.ts";
import { boundedGate, MAX_HEALTH_BYTES, MAX_REFLECTION_BYTES, untilDrained } from "./unauthenticated.ts";

const MAX_REQUEST_BYTES = 1024 * 1024;

/** What the services stand on. */
export interface RoutesOptions {
  readonly elevation: ElevationRpcOptions;
  readonly policy: PolicyRpcOptions;
  readonly guard: Parameters<typeof guardRpc>[0];
  readonly log: Parameters<typeof logRpc>[0];
  /** Refuses who is not authenticated. */
  readonly gate: (context: HandlerContext) => Promise<void>;
  readonly drain: AbortSignal;
}

/** Registers everything. */
export function routes(options: RoutesOptions): (router: ConnectRouter) => void {
  const own = [ElevationService, PolicyService, GuardService, LogService];
  const healthy = health(
    own.map(({ typeName }) => typeName),
    options.drain,
  );
  const files = [file_brevet_v1_elevation, file_brevet_v1_policy, file_brevet_v1_guard, file_brevet_v1_log, healthy.file];
  return (router) => {
    const behindGate = { requestGate: options.gate, readMaxBytes: MAX_REQUEST_BYTES };
    router.service(ElevationService, elevationRpc(options.elevation), behindGate);
    router.service(PolicyService, policyRpc(options.policy), { ...behindGate, readMaxBytes: MAX_POLICY_REQUEST_BYTES });
    router.service(GuardService, guardRpc(options.guard), behindGate);
    router.service(LogService, logRpc(options.log), behindGate);
    const requestGate = boundedGate();
    router.service(healthy.service, healthy.implementation, { requestGate, readMaxBytes: MAX_HEALTH_BYTES });
    for (const { service, implementation } of reflectionHandlers(files).describedServices) {
      const serverReflectionInfo = (requests: AsyncIterable<Message>) =>
        implementation.serverReflectionInfo(untilDrained(requests, options.drain));
      router.service(service, { serverReflectionInfo }, { requestGate, readMaxBytes: MAX_REFLECTION_BYTES });
    }
  };
}
