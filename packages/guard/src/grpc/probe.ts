// The probe as a service of a grpc-js server, whose interceptors run for registered methods only. The guard's interceptor answers it;
// what is registered here only gives it a name, and says so where no guard stands in front.
import { PROBE_METHOD } from "@brevet/protocol";
import { GuardService } from "@brevet/protocol/brevet/v1/guard";
import { type ServiceDefinition, status, type UntypedServiceImplementation } from "@grpc/grpc-js";

const bytes = (value: Uint8Array): Buffer => Buffer.from(value);

/** For `server.addService`. */
export const probeDefinition: ServiceDefinition = {
  [GuardService.method.probe.name]: {
    path: `/${PROBE_METHOD}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: (value: Buffer) => value,
    responseSerialize: bytes,
    responseDeserialize: (value: Buffer) => value,
  },
};

/** Never reached where the guard stands first. */
export const probeImplementation: UntypedServiceImplementation = {
  [GuardService.method.probe.name]: (_call: unknown, done: (error: { code: status; details: string }) => void) =>
    done({
      code: status.UNIMPLEMENTED,
      details: "the guard does not stand in front of this server: put its interceptor first in `interceptors`",
    }),
};
