// Services and methods: whether they exist, and whether every protected one can be reached.
// Never looks into entitlements beyond what they cover.
import { isMethodName } from "@brevet/protocol";
import { Severity } from "@brevet/protocol/brevet/v1/policy";
import { elevatedBy, type Methods } from "../compile/methods.ts";
import type { Descriptors } from "../descriptors/descriptors.ts";
import type { PolicyDocument, ServiceDocument } from "../document/document.ts";
import type { Path, Report } from "../document/report.ts";
import { nearest } from "../nearest/nearest.ts";

/** All services, and the elevated methods that no entitlement reaches. */
export function checkServices(document: PolicyDocument, methods: Methods, descriptors: Descriptors | undefined, report: Report): void {
  if (descriptors === undefined) unchecked(document, report);
  if (Object.keys(document.services ?? {}).length === 0)
    report.aboutAll(Severity.WARNING, {
      rule: "no-services",
      message: "no service is listed, so every method is forbidden",
      fix: "list the services under services",
    });
  for (const [name, service] of Object.entries(document.services ?? {})) {
    const at: Path = ["services", name];
    if (!isMethodName(`${name}/X`)) {
      report.error(at, { rule: "service-malformed", message: `${name} is no service`, fix: "write package.Service" }, "key");
      continue;
    }
    if (descriptors !== undefined && !descriptors.services.has(name) && !name.startsWith("grpc.")) {
      report.error(
        at,
        { rule: "unknown-service", message: `the descriptors have no service ${name}`, fix: guess(name, descriptors.services) },
        "key",
      );
      continue;
    }
    checkMethods(at, name, service, descriptors, report);
  }
  checkReached(document, methods, report);
}

function unchecked(document: PolicyDocument, report: Report): void {
  const words = {
    rule: "names-unchecked",
    message: "without descriptors, names of services and methods are not checked, and conditions cannot read the request",
    fix: "make them with `buf build -o FILE`, and give them along",
  };
  if (document.descriptors === undefined) report.aboutAll(Severity.WARNING, words);
  else report.warning(["descriptors"], words);
}

function checkMethods(at: Path, service: string, entry: ServiceDocument, descriptors: Descriptors | undefined, report: Report): void {
  for (const [method, { access, bind }] of Object.entries(entry.methods ?? {})) {
    const path: Path = [...at, "methods", method];
    const name = `${service}/${method}`;
    const described = descriptors?.method(name);
    if (!isMethodName(name))
      report.error(
        path,
        {
          rule: "method-malformed",
          message: `${name.slice(0, 220)} is no method`,
          fix: "write the method's own name, at most 200 bytes with its service",
        },
        "key",
      );
    else if (descriptors?.services.has(service) === true && described === undefined)
      report.error(
        path,
        { rule: "unknown-method", message: `${service} has no method ${method}`, fix: guess(method, descriptors.methodsOf(service)) },
        "key",
      );
    if (bind === undefined) continue;
    if (described?.methodKind === "client_streaming" || described?.methodKind === "bidi_streaming")
      report.error([...path, "bind"], {
        rule: "bind-on-stream",
        message: `${name} takes a stream: an approval cannot cover one exact request`,
        fix: "bind only methods that take one message",
      });
    if (access !== "elevated")
      report.warning([...path, "bind"], {
        rule: "bind-unused",
        message: `${name} is ${access}: there is no approval to bind`,
        fix: "make it elevated, or take bind out",
      });
  }
}

function checkReached(document: PolicyDocument, methods: Methods, report: Report): void {
  const covered = new Set(
    Object.values(document.entitlements ?? {}).flatMap((entry) => entry.methods.flatMap((pattern) => elevatedBy(pattern, methods))),
  );
  for (const rule of methods.known.values()) {
    if (rule.access !== "elevated" || covered.has(rule.name)) continue;
    const slash = rule.name.indexOf("/");
    const [service, method] = [rule.name.slice(0, slash), rule.name.slice(slash + 1)];
    const own = document.services?.[service]?.methods;
    const path =
      own !== undefined && Object.hasOwn(own, method)
        ? ["services", service, "methods", method, "access"]
        : ["services", service, "default"];
    report.error(path, {
      rule: "method-unreachable",
      message: `no entitlement covers ${rule.name}, so nobody can ever call it`,
      fix: "add an entitlement, or make it forbidden",
    });
  }
}

function guess(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near === undefined ? `known are ${[...known].slice(0, 10).join(", ")}` : `did you mean ${near}?`;
}
