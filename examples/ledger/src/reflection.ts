// Server reflection: what grpcurl and its like ask to learn the service, and to decode the details of a refusal.
// Also serves google.rpc's error details and brevet.v1.ElevationRequired, which no method of the ledger mentions.
import { reflectionHandlers } from "@brevet/protocol/reflection";
import type { DescService } from "@bufbuild/protobuf";
import type { Server } from "@grpc/grpc-js";

/** Adds grpc.reflection v1 and v1alpha for the service to the server. Health is not in it: grpc-health-check brings no descriptor that resolves. */
export function addReflection(server: Server, service: DescService): void {
  for (const { definition, implementation } of reflectionHandlers([service.file]).grpcServices)
    server.addService(definition, implementation);
}
