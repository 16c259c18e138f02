// Which rule each method has, and which methods an entitlement's patterns mean.
// Never judges: a method that nothing lists is forbidden, a pattern that means nothing gives an empty list.
import { methodMatches, parseMethodName } from "@brevet/protocol";
import type { Descriptors } from "../descriptors/descriptors.ts";
import type { PolicyDocument, ServiceDocument } from "../document/document.ts";
import type { MethodRule } from "./compiled.ts";

/** Services that have a rule unless the document gives one. */
const GIVEN: Readonly<Record<string, ServiceDocument>> = {
  "grpc.health.v1.Health": { default: "open" },
  "grpc.reflection.v1.ServerReflection": { default: "authenticated" },
  "grpc.reflection.v1alpha.ServerReflection": { default: "authenticated" },
};
const GIVEN_METHODS: Readonly<Record<string, readonly string[]>> = {
  "grpc.health.v1.Health": ["Check", "List", "Watch"],
  "grpc.reflection.v1.ServerReflection": ["ServerReflectionInfo"],
  "grpc.reflection.v1alpha.ServerReflection": ["ServerReflectionInfo"],
};

/** The rules of a document. */
export interface Methods {
  /** All methods that are known by name. */
  readonly known: ReadonlyMap<string, MethodRule>;
  rule(name: string): MethodRule;
}

/**
 * The rules by method. With descriptors of a service, only its methods exist; without, every name in a listed service has the
 * service's default.
 */
export function methodsOf(document: PolicyDocument, descriptors: Descriptors | undefined): Methods {
  const known = new Map<string, MethodRule>();
  const openEnded = new Map<string, MethodRule["access"]>();
  for (const [name, service] of Object.entries({ ...GIVEN, ...document.services })) {
    const access = service.default ?? "forbidden";
    const described = descriptors?.services.has(name) === true ? descriptors.methodsOf(name) : GIVEN_METHODS[name];
    if (described === undefined) openEnded.set(name, access);
    for (const method of new Set([...(described ?? []), ...Object.keys(service.methods ?? {})])) {
      const own = service.methods === undefined || !Object.hasOwn(service.methods, method) ? undefined : service.methods[method];
      const rule: MethodRule = {
        name: `${name}/${method}`,
        access: own?.access ?? access,
        listed: own !== undefined || service.default !== undefined,
        bindPayload: own?.bind === "payload",
        ...(own?.risk === undefined ? {} : { risk: own.risk }),
      };
      known.set(rule.name, Object.freeze(rule));
    }
  }
  return { known, rule: (name) => known.get(name) ?? unknown(name, openEnded) };
}

function unknown(name: string, openEnded: ReadonlyMap<string, MethodRule["access"]>): MethodRule {
  const access = openEnded.get(parseMethodName(name)?.service ?? "");
  return { name, access: access ?? "forbidden", listed: access !== undefined, bindPayload: false };
}

/** The elevated methods that a pattern, a method's name or `package.Service/*`, means. */
export function elevatedBy(pattern: string, methods: Methods): readonly string[] {
  if (!pattern.endsWith("/*")) return methods.rule(pattern).access === "elevated" ? [pattern] : [];
  return [...methods.known.values()]
    .filter((rule) => rule.access === "elevated" && methodMatches(pattern, rule.name))
    .map((rule) => rule.name);
}
