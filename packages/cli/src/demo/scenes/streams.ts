// Calls that last: a stream that its window's end drains and cuts, and one that a revocation cuts at once.
import { ANA, type Cast, CLEO, decisionIn, does, logLine, nowText, PAT, parked, SAM, shown, unexpected } from "../cast.ts";

/** The window ends while the stream is open. */
export async function expiryInsideStream(cast: Cast): Promise<void> {
  const { tell, ledger, address } = cast;
  tell.scene("A stream outlives its window: it is drained for the time that the policy gives, then ended, and told why");
  const { id, call } = await parked(cast, ["follow", "--address", address, ...SAM], { for: "2s" });
  await does(cast, "approver", ["approve", id, ...ANA]);
  const { windowEnd = "" } = await shown(cast, id);
  tell.say(`The window ends at ${windowEnd}; the policy drains open streams for 2 s more. Waiting …`);
  const ended = await call;
  if (!ended.stderr.includes("ELEVATION_EXPIRED")) throw unexpected("The stream did not end as expired", ended);
  tell.say(`It ended at ${nowText()}.`);
  tell.quote("guard", await logLine(ledger, decisionIn(ended.stderr)));
}

/** An admin takes the privilege away while the stream is open. */
export async function revocationEndsStream(cast: Cast): Promise<void> {
  const { tell, address } = cast;
  tell.scene("A revocation ends an open stream, and says which guards enforce it");
  const { id, call } = await parked(cast, ["follow", "--address", address, ...CLEO], { for: "15m" });
  await does(cast, "approver", ["approve", id, ...ANA]);
  await does(cast, "admin", ["revoke", id, "--wait", ...PAT, "--comment", "the laptop was stolen"]);
  const ended = await call;
  if (!ended.stderr.includes("ELEVATION_REVOKED")) throw unexpected("The stream did not end as revoked", ended);
}
