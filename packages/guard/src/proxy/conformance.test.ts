import { guardConformance, serve } from "@brevet/testing/guard-conformance";
import { proxy } from "./proxy.ts";

guardConformance({
  name: "proxy",
  async start({ services, guard }) {
    const bare = await serve(services);
    const standing = await proxy({ ...guard, listen: "127.0.0.1:0", upstream: bare.address });
    return {
      address: standing.address,
      ready: (signal) => standing.ready(signal),
      status: () => standing.status(),
      async close() {
        await bare[Symbol.asyncDispose]();
        await standing.close();
      },
    };
  },
});
