// The stage for one refusal: an authority and the guarded ledger as processes, and the commands that people type at them, kept in order.
// Never decides what is a refusal: the families beside it say how each is provoked.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ReasonName, sleep, systemClock } from "@brevet/protocol";
import { unexpected } from "../cast.ts";
import { type Finished, type Running, Stage } from "../stage.ts";

const policy = fileURLToPath(new URL("policy.yaml", import.meta.url));
const CLIENT = "node examples/ledger/src/client.ts";

/** One command that somebody typed, and what they saw. */
export interface Step extends Finished {
  /** As typed in a shell. */
  readonly command: string;
}

/** Provokes a refusal by commands, of which the last one shows it. */
export type Provocation = (scene: Scene) => Promise<void>;

/** Where the processes are. */
export interface Places {
  readonly stage: Stage;
  /** A directory for files. */
  readonly data: string;
  readonly authority: Running;
  /** Of the authority. */
  readonly url: string;
  readonly ledger: Running;
  /** Of the ledger, host:port. */
  readonly address: string;
  /** A charge over 1299.00 EUR. */
  readonly charge: string;
}

/** The processes that any number of refusals can share. Disposing ends them. */
export class Rehearsal implements AsyncDisposable {
  readonly #places: Places;

  private constructor(places: Places) {
    this.#places = places;
  }

  /** Starts them. */
  static async open(): Promise<Rehearsal> {
    const data = await mkdtemp(join(tmpdir(), "brevet-refusal-"));
    const stage = new Stage({});
    try {
      const where = ["--data", join(data, "authority"), "--listen", "127.0.0.1:0", "--admin-listen", "off"];
      const authority = await stage.serve(["--dev", "--policy", policy, ...where]);
      const { url, dev } = authority.ready as { url: string; dev: { code: string } };
      stage.setEnvironment({ BREVET_AUTHORITY: url, BREVET_DEV_CODE: dev.code });
      return new Rehearsal({ stage, data, authority, url, ...(await stage.ledger(data, url, someone("sam"))) });
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      await rm(data, { recursive: true, force: true });
      throw error;
    }
  }

  /** Plays one refusal. Resolves with every command; the last one shows it. @throws CommandError if it does not. */
  async play(reason: ReasonName, provoke: Provocation, signal?: AbortSignal): Promise<readonly Step[]> {
    const scene = new Scene(this.#places, reason, signal);
    await provoke(scene);
    const last = scene.steps.at(-1);
    if (last === undefined || !shows(reason, last)) throw unexpected(`${reason} was not provoked`, last ?? NOTHING);
    return scene.steps;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { stage, data } = this.#places;
    await stage[Symbol.asyncDispose]();
    await rm(data, { recursive: true, force: true });
  }
}

const NOTHING: Finished = { status: 0, stdout: "", stderr: "" };

/** One refusal on that stage. */
export class Scene {
  readonly places: Places;
  readonly reason: ReasonName;
  readonly #signal: AbortSignal | undefined;
  readonly #steps: Step[] = [];

  constructor(places: Places, reason: ReasonName, signal?: AbortSignal) {
    this.places = places;
    this.reason = reason;
    this.#signal = signal;
  }

  /** What was typed so far. */
  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** `brevet` with these words; it may fail. */
  async brevet(...words: readonly string[]): Promise<Step> {
    return this.#keep("npx brevet", words, await this.places.stage.brevet(words));
  }

  /** `brevet` with these words; it has to succeed. */
  async does(...words: readonly string[]): Promise<Step> {
    const step = await this.brevet(...words);
    if (step.status !== 0) throw unexpected(`${step.command} failed`, step);
    return step;
  }

  /** Asks for an elevation. Resolves with its id. */
  async asks(method: string, ...words: readonly string[]): Promise<string> {
    const step = await this.does("request", method, ...words);
    const id = /elv_[0-9A-Z]{26}/.exec(step.stdout)?.[0];
    if (id === undefined) throw unexpected(`${step.command} opened nothing`, step);
    return id;
  }

  /** Asks, and Ana approves it. Resolves with its id. */
  async approved(method: string, ...words: readonly string[]): Promise<string> {
    const id = await this.asks(method, ...words);
    await this.does("approve", id, ...ANA);
    return id;
  }

  /** An identity token for an audience, in a file. Resolves with its name; the token itself is not kept with the steps. */
  async token(audience: string, ...who: readonly string[]): Promise<string> {
    const words = ["token", "dev", "--for-audience", audience, ...who];
    const file = join(this.places.data, `${this.reason.toLowerCase()}.token`);
    const printed = await this.places.stage.brevet(words);
    if (printed.status !== 0) throw unexpected("There is no token", printed);
    await writeFile(file, printed.stdout);
    this.#keep("npx brevet", [...words, ">", file], { ...printed, stdout: "" });
    return file;
  }

  /** A call that goes on, such as a stream, which something ends meanwhile. Resolves when it has come to that. */
  async during(words: readonly string[], meanwhile: () => Promise<unknown>): Promise<Step> {
    const open = Promise.withResolvers<void>();
    const at = ["--address", this.places.address];
    const call = this.places.stage.caller([...words, ...at], () => open.resolve());
    const early = call.then((ended) => Promise.reject(unexpected("The call did not go on", ended)));
    await Promise.race([open.promise, early]);
    early.catch(() => {});
    await meanwhile();
    return this.#keep(CLIENT, words, await call);
  }

  /** The ledger's own client with these words. */
  async call(...words: readonly string[]): Promise<Step> {
    const at = ["--address", this.places.address];
    return this.#keep(CLIENT, words, await this.places.stage.caller([...words, ...at]));
  }

  /** As {@link call}, until it is refused as provoked: what the authority decided reaches the guard a moment later. */
  async refused(...words: readonly string[]): Promise<Step> {
    for (let attempt = 1; ; attempt += 1) {
      const step = await this.call(...words);
      if (attempt === 25 || shows(this.reason, step)) return step;
      this.#steps.pop();
      await sleep(systemClock, 200, this.#signal);
    }
  }

  /** A refund of 12.50 EUR that is refused as provoked. */
  refusedRefund(who: readonly string[], ...more: readonly string[]): Promise<Step> {
    return this.refused("refund", "--charge", this.places.charge, "--amount", "1250", "--currency", "EUR", ...who, ...more);
  }

  #keep(program: string, words: readonly string[], finished: Finished): Step {
    const step = { command: [program, ...words.map(quoted)].join(" "), ...finished };
    this.#steps.push(step);
    return step;
  }
}

/** Ana and Bo of on-call approve, Pat of the platform is an admin, Kim of security an auditor. */
export const ANA = ["--as", "user:ana@acme.test"];
export const BO = ["--as", "user:bo@acme.test"];
export const PAT = ["--as", "user:pat@acme.test"];
export const KIM = ["--as", "user:kim@acme.test", "--groups", "group:security"];
export const REFUND = "payments.v1.Ledger/Refund";
export const TICKET = ["--reason", "OPS-7 charged twice"];

/** Somebody of support, or of another group. Each refusal has people of its own, so that none stands in another's way. */
export function someone(name: string, group = "group:support"): readonly string[] {
  return ["--as", `user:${name}@acme.test`, "--groups", group];
}

/** The message of the refusal that a command ended with, as every gRPC client has it; undefined if it did not. */
export function messageIn(reason: ReasonName, { status, stderr }: Finished): string | undefined {
  if (status === 0) return undefined;
  const line = stderr.split("\n").findLast((each) => each.includes(`${reason}: `));
  return line?.slice(line.indexOf(`${reason}: `));
}

/** A text with what differs from one time to the next replaced: ids, times, ports, revisions. */
export function normalised(text: string): string {
  let seconds = 0;
  return text
    .replaceAll(/\b(elv|dec)_[0-9A-Z]{26}\b/g, "$1_…")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, () => `2026-03-02T09:15:0${seconds++ % 10}Z`)
    .replaceAll(/127\.0\.0\.1:\d{2,5}/g, "127.0.0.1:7400")
    .replaceAll(/(revision|you saw) \d+/g, "$1 N");
}

/** Whether a command ended with the refusal. */
function shows(reason: ReasonName, finished: Finished): boolean {
  return messageIn(reason, finished) !== undefined;
}

function quoted(word: string): string {
  return /^(>|[\w@%+=:,./-]+)$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
