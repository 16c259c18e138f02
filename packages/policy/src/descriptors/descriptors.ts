// The services that a policy governs, as their descriptors say: methods, request types, enums.
// Never sees the policy.
import { createFileRegistry, type DescEnum, type DescMessage, type DescMethod, type FileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

/** Largest descriptor set, in bytes. */
export const MAX_DESCRIPTOR_BYTES = 8 << 20;

/** What can be asked of a descriptor set. */
export interface Descriptors {
  readonly services: ReadonlySet<string>;
  /** Methods of a service, by their own names; empty for an unknown one. */
  methodsOf(service: string): readonly string[];
  /** By `package.Service/Method`. */
  method(name: string): DescMethod | undefined;
  enumNamed(typeName: string): DescEnum | undefined;
}

/** Reads a serialized FileDescriptorSet, such as `buf build -o` writes. A problem if it is none, or files are missing in it. */
export function readDescriptors(bytes: Uint8Array): { ok: true; descriptors: Descriptors } | { ok: false; problem: string } {
  if (bytes.length > MAX_DESCRIPTOR_BYTES) return { ok: false, problem: `it has ${bytes.length} bytes, more than ${MAX_DESCRIPTOR_BYTES}` };
  try {
    return { ok: true, descriptors: descriptorsOf(createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes))) };
  } catch (error) {
    return { ok: false, problem: error instanceof Error ? error.message : "it does not decode" };
  }
}

function descriptorsOf(registry: FileRegistry): Descriptors {
  const methods = new Map<string, DescMethod>();
  const byService = new Map<string, readonly string[]>();
  for (const type of registry) {
    if (type.kind !== "service") continue;
    byService.set(
      type.typeName,
      type.methods.map((method) => method.name),
    );
    for (const method of type.methods) methods.set(`${type.typeName}/${method.name}`, method);
  }
  return {
    services: new Set(byService.keys()),
    methodsOf: (service) => byService.get(service) ?? [],
    method: (name) => methods.get(name),
    enumNamed: (typeName) => registry.getEnum(typeName),
  };
}

/** The message that a method takes; undefined without descriptors or for an unknown method. */
export function requestTypeOf(descriptors: Descriptors | undefined, method: string): DescMessage | undefined {
  return descriptors?.method(method)?.input;
}

/** Methods that every policy knows, with descriptors or without. */
const GIVEN_KINDS: Readonly<Record<string, DescMethod["methodKind"]>> = {
  "grpc.health.v1.Health/Check": "unary",
  "grpc.health.v1.Health/List": "unary",
  "grpc.health.v1.Health/Watch": "server_streaming",
};

/** How many messages a method takes and answers; undefined without descriptors or for an unknown method. */
export function methodKindOf(descriptors: Descriptors | undefined, method: string): DescMethod["methodKind"] | undefined {
  return descriptors?.method(method)?.methodKind ?? GIVEN_KINDS[method];
}
