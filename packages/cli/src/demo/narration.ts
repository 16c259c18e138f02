// How the demo speaks: numbered scenes, and what each side sees, set apart by who says it.

/** Prints the story. */
export interface Narrator {
  scene(title: string): void;
  say(text: string): void;
  /** What one side sees or logs, line by line. */
  quote(who: string, text: string): void;
}

/** Tells the story on standard output. Colours only on a terminal that wants them. */
export function narrator(write: (text: string) => void, colours: boolean): Narrator {
  const paint = (code: string, text: string) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text);
  let scene = 0;
  return {
    scene(title) {
      scene += 1;
      write(`\n${paint("1", `${scene}. ${title}`)}\n`);
    },
    say(text) {
      write(`   ${text}\n`);
    },
    quote(who, text) {
      for (const line of text.trimEnd().split("\n")) write(`   ${paint("36", who.padEnd(10))}${paint("2", "|")} ${line}\n`);
    },
  };
}
