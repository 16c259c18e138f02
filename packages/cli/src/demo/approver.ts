// The approver of the demo: a person at this terminal or another one, or the demo itself with --auto.
import { emitKeypressEvents } from "node:readline";

/** What the person at this terminal pressed. */
export type Choice = "approve" | "deny" | "quit";

const CHOICES: Readonly<Record<string, Choice>> = { a: "approve", d: "deny", q: "quit" };

/** Waits for a, d or q on a terminal; never resolves where there is none, or once aborted. Restores the terminal. */
export function keyPressed(input: NodeJS.ReadStream, signal: AbortSignal): Promise<Choice> {
  if (!input.isTTY) return new Promise(() => {});
  emitKeypressEvents(input);
  input.setRawMode(true);
  input.resume();
  return new Promise((resolve) => {
    const restore = () => {
      input.setRawMode(false);
      input.pause();
      input.removeListener("keypress", onKey);
    };
    const onKey = (_text: string | undefined, key: { name?: string; ctrl?: boolean }) => {
      const choice = key.ctrl === true ? (key.name === "c" ? "quit" : undefined) : CHOICES[key.name ?? ""];
      if (choice === undefined) return;
      restore();
      resolve(choice);
    };
    input.on("keypress", onKey);
    signal.addEventListener("abort", restore, { once: true });
  });
}
