// Static types of conditions: what a protobuf field, a claim or a literal is to CEL, and which of them compare.
// Never looks at values.
import { type DescEnum, type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** A static type. `dyn` is a claim, known only at run time; `nullable` is a wrapper message. */
export type Kind =
  | { readonly is: "bool" | "int" | "uint" | "double" | "string" | "bytes" | "null" | "timestamp" | "duration" | "dyn" }
  | { readonly is: "enum"; readonly desc: DescEnum }
  | { readonly is: "message"; readonly desc: DescMessage }
  | { readonly is: "record"; readonly name: string; readonly fields: ReadonlyMap<string, Kind> }
  | { readonly is: "list"; readonly of: Kind }
  | { readonly is: "map"; readonly key: Kind; readonly value: Kind }
  | { readonly is: "nullable"; readonly of: Kind }
  | { readonly is: "unreadable"; readonly why: string };

export const BOOL: Kind = { is: "bool" };
export const INT: Kind = { is: "int" };
export const UINT: Kind = { is: "uint" };
export const DOUBLE: Kind = { is: "double" };
export const STRING: Kind = { is: "string" };
export const BYTES: Kind = { is: "bytes" };
export const NULL: Kind = { is: "null" };
export const TIMESTAMP: Kind = { is: "timestamp" };
export const DURATION: Kind = { is: "duration" };
export const DYN: Kind = { is: "dyn" };

const WELL_KNOWN: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["google.protobuf.Timestamp", TIMESTAMP],
  ["google.protobuf.Duration", DURATION],
  ["google.protobuf.Struct", DYN],
  ["google.protobuf.Value", DYN],
  ["google.protobuf.ListValue", DYN],
  ["google.protobuf.BoolValue", { is: "nullable", of: BOOL }],
  ["google.protobuf.Int32Value", { is: "nullable", of: INT }],
  ["google.protobuf.Int64Value", { is: "nullable", of: INT }],
  ["google.protobuf.UInt32Value", { is: "nullable", of: UINT }],
  ["google.protobuf.UInt64Value", { is: "nullable", of: UINT }],
  ["google.protobuf.FloatValue", { is: "nullable", of: DOUBLE }],
  ["google.protobuf.DoubleValue", { is: "nullable", of: DOUBLE }],
  ["google.protobuf.StringValue", { is: "nullable", of: STRING }],
  ["google.protobuf.BytesValue", { is: "nullable", of: BYTES }],
  // What is inside is known to the sender only; a rule that cannot be checked when written is not a rule.
  ["google.protobuf.Any", { is: "unreadable", why: "google.protobuf.Any can hold any type" }],
]);

/** The type of a message. */
export function kindOfMessage(desc: DescMessage): Kind {
  return WELL_KNOWN.get(desc.typeName) ?? { is: "message", desc };
}

/** The type of a field. */
export function kindOfField(field: DescField): Kind {
  if (field.fieldKind === "scalar") return kindOfScalar(field.scalar);
  if (field.fieldKind === "enum") return { is: "enum", desc: field.enum };
  if (field.fieldKind === "message") return kindOfMessage(field.message);
  if (field.fieldKind === "list") return { is: "list", of: kindOfElement(field.listKind, field.scalar, field.enum, field.message) };
  const value = kindOfElement(field.mapKind, field.scalar, field.enum, field.message);
  return { is: "map", key: kindOfScalar(field.mapKey), value };
}

function kindOfElement(
  kind: "scalar" | "enum" | "message",
  scalar: ScalarType | undefined,
  desc: DescEnum | undefined,
  message: DescMessage | undefined,
): Kind {
  if (kind === "scalar" && scalar !== undefined) return kindOfScalar(scalar);
  if (kind === "enum" && desc !== undefined) return { is: "enum", desc };
  if (message !== undefined) return kindOfMessage(message);
  return { is: "unreadable", why: "its element type is not known" };
}

const SCALARS: ReadonlyMap<ScalarType, Kind> = new Map([
  [ScalarType.BOOL, BOOL],
  [ScalarType.STRING, STRING],
  [ScalarType.BYTES, BYTES],
  [ScalarType.DOUBLE, DOUBLE],
  [ScalarType.FLOAT, DOUBLE],
  [ScalarType.UINT32, UINT],
  [ScalarType.UINT64, UINT],
  [ScalarType.FIXED32, UINT],
  [ScalarType.FIXED64, UINT],
]);

function kindOfScalar(scalar: ScalarType): Kind {
  return SCALARS.get(scalar) ?? INT;
}

/** The type in words. */
export function describe(kind: Kind): string {
  switch (kind.is) {
    case "enum":
    case "message":
      return kind.desc.typeName;
    case "record":
      return kind.name;
    case "list":
      return `list of ${describe(kind.of)}`;
    case "map":
      return `map of ${describe(kind.key)} to ${describe(kind.value)}`;
    case "nullable":
      return `${describe(kind.of)} or null`;
    default:
      return kind.is;
  }
}

/** A wrapper's value, other types as they are. */
export function unwrap(kind: Kind): Kind {
  return kind.is === "nullable" ? kind.of : kind;
}

export function isNumber(kind: Kind): boolean {
  return kind.is === "int" || kind.is === "uint" || kind.is === "double";
}

/** Whether two types may stand on the sides of `==`. Messages and maps never do: compare their fields. */
export function comparable(left: Kind, right: Kind): boolean {
  if (left.is === "unreadable" || right.is === "unreadable") return false;
  if (left.is === "nullable" || right.is === "nullable") {
    if (left.is === "null" || right.is === "null") return true;
    return comparable(unwrap(left), unwrap(right));
  }
  if (left.is === "dyn") return right.is !== "message" && right.is !== "record" && right.is !== "enum";
  if (right.is === "dyn") return comparable(right, left);
  if (isNumber(left) && isNumber(right)) return true;
  if (left.is === "enum") return right.is === "enum" && right.desc.typeName === left.desc.typeName;
  if (left.is === "list") return right.is === "list" && comparable(left.of, right.of);
  if (left.is === "message" || left.is === "map" || left.is === "record" || left.is === "null") return false;
  return left.is === right.is;
}

/** Whether two types have an order. */
export function ordered(left: Kind, right: Kind): boolean {
  const [a, b] = [unwrap(left), unwrap(right)];
  const hasOrder = (kind: Kind) =>
    isNumber(kind) || kind.is === "string" || kind.is === "timestamp" || kind.is === "duration" || kind.is === "dyn";
  if (!hasOrder(a) || !hasOrder(b)) return false;
  return a.is === b.is || (isNumber(a) && isNumber(b)) || a.is === "dyn" || b.is === "dyn";
}
