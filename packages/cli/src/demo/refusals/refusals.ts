// Every refusal that can be provoked on one machine, by reason, and the telling of one. Each is really made; nothing here knows its text.
// Never plays the whole story: that is demo.ts.
import { catalogue, type ReasonName } from "@brevet/protocol";
import { CommandError, exitStatus } from "../../output/status.ts";
import { narrator } from "../narration.ts";
import { credentialRefusals } from "./credentials.ts";
import { elevationRefusals } from "./elevations.ts";
import { policyRefusals } from "./policies.ts";
import { type Provocation, Rehearsal } from "./rehearsal.ts";
import { requestRefusals } from "./requests.ts";
import { voteRefusals } from "./votes.ts";

/** How each is provoked. */
export const provocations: Readonly<Partial<Record<ReasonName, Provocation>>> = {
  ...credentialRefusals,
  ...elevationRefusals,
  ...policyRefusals,
  ...voteRefusals,
  ...requestRefusals,
};

/** Provokes one, and prints each command with what its caller sees. @throws CommandError if it cannot be, or was not. */
export async function tellRefusal(reason: ReasonName, write: (text: string) => void, signal: AbortSignal): Promise<void> {
  const provoke = provocations[reason];
  if (provoke === undefined) {
    throw new CommandError(exitStatus.misuse, `Nothing here provokes ${reason}.`, {
      hints: [`There are: ${Object.keys(provocations).toSorted().join(", ")}`, `What it means: brevet explain ${reason}`],
    });
  }
  const tell = narrator(write, process.stdout.isTTY && process.env.NO_COLOR === undefined);
  tell.scene(`${reason}: ${catalogue[reason].what}`);
  await using rehearsal = await Rehearsal.open();
  for (const { command, stdout, stderr } of await rehearsal.play(reason, provoke, signal)) {
    tell.say(`$ ${command}`);
    // What a refused caller reads comes once more as JSON, for programs.
    const answers = stdout.split("\n").filter((line) => line !== "" && !line.startsWith('{"error"'));
    tell.quote("seen", [...answers, stderr].join("\n"));
  }
}
