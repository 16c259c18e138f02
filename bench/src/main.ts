// Reproduces the published figures: `npm run bench [-- NAME…] [--smoke]`. Smoke runs each for a moment, to see that it runs.
import { measureApproval } from "./approval.ts";
import { measureCall } from "./call.ts";
import { measureDecision } from "./decision.ts";
import type { Effort } from "./effort.ts";
import { measureLifecycle } from "./lifecycle.ts";
import { measureProxy } from "./proxy.ts";
import { measureRevoke } from "./revoke.ts";

const benches: Readonly<Record<string, (effort: Effort) => Promise<string>>> = {
  call: measureCall,
  decision: measureDecision,
  lifecycle: measureLifecycle,
  approval: measureApproval,
  revoke: measureRevoke,
  proxy: measureProxy,
};

const words = process.argv.slice(2);
const smoke = words.includes("--smoke");
const names = words.filter((word) => word !== "--smoke");
const unknown = names.filter((name) => benches[name] === undefined);
if (unknown.length > 0) {
  console.error(`no bench named ${unknown.join(", ")}; there are: ${Object.keys(benches).join(", ")}`);
  process.exitCode = 2;
} else {
  for (const [name, measure] of Object.entries(benches)) {
    if (names.length > 0 && !names.includes(name)) continue;
    console.log(`\n## ${name}${smoke ? " (smoke: the figures mean nothing)" : ""}\n`);
    console.log(await measure({ smoke }));
  }
}
