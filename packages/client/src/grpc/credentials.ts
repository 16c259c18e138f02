// The metadata that calls are made with: who calls, and the grants that methods are known to need. Owns which elevation a method is called under.
// Leaves the program's own metadata object alone: programs reuse them.
import { AUTHORIZATION_HEADER, GRANT_HEADER } from "@brevet/protocol";
import { type Elevation, Presentation } from "@brevet/protocol/brevet/v1/elevation";
import type { Metadata } from "@grpc/grpc-js";
import type { AuthoritySession } from "../client.ts";
import { identityToken } from "../connection/connection.ts";
import { IdentityFailure } from "../connection/failure.ts";
import type { Settings } from "./options.ts";

/** See the head of this file. */
export class Credentials {
  readonly #settings: Settings;
  readonly #session: AuthoritySession;
  /** Elevations that a grant has to be shown of, by method. The authority itself said so: no refusal gets an entry in. */
  readonly #held = new Map<string, string>();

  constructor(settings: Settings, session: AuthoritySession) {
    this.#settings = settings;
    this.#session = session;
  }

  /** What to send for a call, at once where nobody has to be asked. Throws and rejects with {@link IdentityFailure}. */
  of(method: string, given: Metadata): Metadata | Promise<Metadata> {
    const elevation = this.#held.size === 0 ? undefined : this.#held.get(method);
    const grant = elevation === undefined ? undefined : this.#session.grantInHand(elevation);
    if (elevation !== undefined && grant === undefined) return this.#afterGrant(method, elevation, given);
    return this.with(given, grant);
  }

  /** The call's metadata with identity and this grant. */
  with(given: Metadata, grant: string | undefined): Metadata | Promise<Metadata> {
    const { identity, audience } = this.#settings;
    // Whoever sets it by hand means it.
    if (given.get(AUTHORIZATION_HEADER).length > 0) return grant === undefined ? given : complete(given, undefined, grant);
    let token: string | Promise<string>;
    try {
      token = identity(audience);
    } catch (error) {
      throw new IdentityFailure(audience, error);
    }
    if (typeof token === "string" && token !== "") return complete(given, token, grant);
    return identityToken(() => token, audience).then((text) => complete(given, text, grant));
  }

  /** Later calls of the elevation's methods show its grant, if it has to be shown. */
  hold(elevation: Elevation): void {
    if (!this.#settings.alwaysGrant && !demandsGrant(elevation)) return;
    for (const method of elevation.methods) this.#held.set(method, elevation.id);
  }

  /** The elevation whose grant goes with a method's calls. */
  heldFor(method: string): string | undefined {
    return this.#held.get(method);
  }

  /** A call under it was refused: later ones of the method go without. */
  drop(method: string): void {
    this.#held.delete(method);
  }

  async #afterGrant(method: string, elevation: string, given: Metadata): Promise<Metadata> {
    const grant = await this.#session.issueGrant(elevation).catch(() => {
      // The guard knows best why, and its refusal says what helps.
      this.drop(method);
      return undefined;
    });
    return this.with(given, grant);
  }
}

/** Whether calls under an elevation have to show a grant. */
export function demandsGrant({ presentation }: Elevation): boolean {
  return presentation === Presentation.GRANT || presentation === Presentation.BOUND;
}

function complete(given: Metadata, token: string | undefined, grant: string | undefined): Metadata {
  const metadata = given.clone();
  if (token !== undefined) metadata.set(AUTHORIZATION_HEADER, `Bearer ${token}`);
  if (grant !== undefined) metadata.add(GRANT_HEADER, grant);
  return metadata;
}
