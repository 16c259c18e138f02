import { guardConformance, serve } from "@brevet/testing/guard-conformance";
import { guard } from "./grpc.ts";

guardConformance({
  name: "interceptor",
  async start({ services, guard: options }) {
    const guarding = guard(options);
    const server = await serve(services, [guarding.interceptor], {}, (server) => guarding.addProbe(server));
    return {
      address: server.address,
      ready: (signal) => guarding.ready(signal),
      status: () => guarding.status(),
      async close() {
        await server[Symbol.asyncDispose]();
        await guarding.close();
      },
    };
  },
});
