// Whether the bytes of a message read the same to everybody: the guard judges what its own library reads, and the service acts on what
// another one reads. Where the wire format leaves room, libraries differ (fields of another wire type, one message given twice, several
// members of a oneof, numbers that do not fit or are written too long, bytes that are no UTF-8, a map's key __proto__), and a caller could
// show each of them something else.
// Owns that one question; never decodes, never throws.
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** Deeper than any message that a person would look at, and less than every library's own limit. */
const MAX_DEPTH = 64;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const GROUP = 3;
const GROUP_END = 4;
const FIXED32 = 5;

/** How the value of a varint has to be for everybody to read the same: one that fits the type. */
type Fits = "64 bits" | "a signed 32-bit number" | "an unsigned 32-bit number" | "true or false";

interface Rule {
  readonly name: string;
  readonly wire: number;
  /** A list of numbers, which may also come packed. */
  readonly packable: boolean;
  readonly fits: Fits;
  readonly text: boolean;
  /** A map's key. */
  readonly key: boolean;
  /** Of a message field that is no list: may come once. */
  readonly once: boolean;
  readonly oneof: string | undefined;
  readonly shape: Shape | undefined;
  /** Numbers of a closed enum: libraries differ on others. */
  readonly closed: ReadonlySet<number> | undefined;
}

interface Shape {
  readonly fields: Map<number, Rule>;
  /** A map's entry whose value is a message: left out, it is an empty one to some, and no entry to others. */
  readonly needsValue: boolean;
}

const shapes = new WeakMap<DescMessage, Shape>();

/** What libraries would read differently in a message, in words for the error; undefined where all read the same. */
export function ambiguity(type: DescMessage, bytes: Uint8Array): string | undefined {
  const walk = new Walk(bytes);
  return walk.message(shapeOf(type), bytes.length, 0, 0) ? undefined : walk.problem;
}

function shapeOf(type: DescMessage): Shape {
  const known = shapes.get(type);
  if (known !== undefined) return known;
  const shape: Shape = { fields: new Map(), needsValue: false };
  // Before its fields: a message may hold itself.
  shapes.set(type, shape);
  for (const field of type.fields) shape.fields.set(field.number, ruleOf(field));
  return shape;
}

function ruleOf(field: DescField): Rule {
  if (field.fieldKind === "map") return entryRule(field);
  const rule = valueRule(field, field.name);
  if (field.fieldKind !== "list") return rule;
  return { ...rule, once: false, packable: rule.wire !== LENGTH && rule.wire !== GROUP };
}

/** One value of a field, or of a list or map. */
function valueRule(field: DescField, name: string): Rule {
  const base = { name, packable: false, key: false, once: false, oneof: field.oneof?.name, shape: undefined, closed: undefined };
  const { message, enum: enumeration, scalar } = field;
  if (message !== undefined) {
    const wire = field.fieldKind !== "map" && field.delimitedEncoding ? GROUP : LENGTH;
    return { ...base, wire, fits: "64 bits", text: false, once: true, shape: shapeOf(message) };
  }
  if (enumeration !== undefined) {
    const closed = enumeration.open ? undefined : new Set(enumeration.values.map(({ number }) => number));
    return { ...base, wire: VARINT, fits: "a signed 32-bit number", text: false, closed };
  }
  return { ...base, ...scalarRule(scalar ?? ScalarType.BYTES) };
}

function entryRule(field: DescField & { fieldKind: "map" }): Rule {
  const value = valueRule(field, `a value of ${field.name}`);
  const about = { name: `a key of ${field.name}`, key: true, once: false, shape: undefined, closed: undefined };
  const key = { ...value, ...scalarRule(field.mapKey), ...about };
  const fields = new Map([
    [1, key],
    [2, value],
  ]);
  return { ...value, name: field.name, wire: LENGTH, text: false, once: false, shape: { fields, needsValue: value.shape !== undefined } };
}

function scalarRule(type: ScalarType): Pick<Rule, "wire" | "fits" | "text"> {
  return { wire: wireOf(type), fits: fitsOf(type), text: type === ScalarType.STRING };
}

function wireOf(type: ScalarType): number {
  switch (type) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return LENGTH;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return FIXED64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return FIXED32;
    default:
      return VARINT;
  }
}

function fitsOf(type: ScalarType): Fits {
  if (type === ScalarType.BOOL) return "true or false";
  if (type === ScalarType.INT32) return "a signed 32-bit number";
  return type === ScalarType.UINT32 || type === ScalarType.SINT32 ? "an unsigned 32-bit number" : "64 bits";
}

const PROTOTYPE = new TextEncoder().encode("__proto__");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

class Walk {
  problem = "it is cut off";
  readonly #bytes: Uint8Array;
  #at = 0;
  /** Halves of the number read last. */
  #low = 0;
  #high = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** One message up to `end`, or up to the end of the group with the number `group`; whether it reads the same to all. */
  message(shape: Shape, end: number, group: number, depth: number): boolean {
    if (depth > MAX_DEPTH) return this.#differs(`it is nested deeper than ${MAX_DEPTH} levels`);
    let seen: Map<number | string, number> | undefined;
    while (this.#at < end) {
      if (!this.#varint(end)) return false;
      const number = this.#low >>> 3;
      const wire = this.#low & 7;
      if (this.#high !== 0 || number === 0) return this.#differs("a field has an impossible number");
      if (wire === GROUP_END) {
        if (number === group) return true;
        return this.#differs("a group ends that did not begin");
      }
      const rule = shape.fields.get(number);
      if (rule === undefined) {
        if (!this.#skip(wire, end)) return false;
        continue;
      }
      if (rule.once || rule.oneof !== undefined || shape.needsValue) {
        seen ??= new Map();
        if (rule.once && seen.has(number)) return this.#differs(`${rule.name} is given twice`);
        seen.set(number, number);
        if (rule.oneof !== undefined) {
          if ((seen.get(rule.oneof) ?? number) !== number) return this.#differs(`several of ${rule.oneof} are given`);
          seen.set(rule.oneof, number);
        }
      }
      if (!this.#field(rule, number, wire, end, depth)) return false;
    }
    if (group !== 0) return this.#differs("a group does not end");
    if (shape.needsValue && seen?.has(2) !== true) return this.#differs("an entry of a map has no value");
    return true;
  }

  #field(rule: Rule, number: number, wire: number, end: number, depth: number): boolean {
    if (wire !== rule.wire) {
      if (wire === LENGTH && rule.packable) return this.#packed(rule, end);
      return this.#differs(`${rule.name} has the form of another type`);
    }
    if (wire === GROUP) return rule.shape !== undefined && this.message(rule.shape, end, number, depth + 1);
    if (wire !== LENGTH) return this.#number(rule, end);
    const to = this.#length(end);
    if (to < 0) return false;
    if (rule.shape !== undefined) return this.message(rule.shape, to, 0, depth + 1);
    const from = this.#at;
    this.#at = to;
    if (!rule.text) return true;
    if (!this.#text(from, to)) return this.#differs(`${rule.name} is no text in UTF-8, or begins with a byte order mark`);
    return !(rule.key && this.#isPrototype(from, to)) || this.#differs(`${rule.name} is __proto__`);
  }

  #packed(rule: Rule, end: number): boolean {
    const to = this.#length(end);
    if (to < 0) return false;
    while (this.#at < to) if (!this.#number(rule, to)) return false;
    return true;
  }

  #number(rule: Rule, end: number): boolean {
    if (rule.wire === FIXED32) return this.#forward(4, end);
    if (rule.wire === FIXED64) return this.#forward(8, end);
    if (!this.#varint(end)) return false;
    const [low, high] = [this.#low, this.#high];
    const fits =
      rule.fits === "64 bits" ||
      (rule.fits === "true or false"
        ? high === 0 && low >>> 0 <= 1
        : high === (rule.fits === "a signed 32-bit number" && low < 0 ? -1 : 0));
    if (!fits) return this.#differs(`${rule.name} is not ${rule.fits}`);
    return rule.closed === undefined || rule.closed.has(low) || this.#differs(`${rule.name} has a number that its enum does not define`);
  }

  #skip(wire: number, end: number): boolean {
    if (wire === VARINT) return this.#varint(end);
    if (wire === FIXED64) return this.#forward(8, end);
    if (wire === FIXED32) return this.#forward(4, end);
    if (wire !== LENGTH) return this.#differs("an unknown field is a group, or of no type");
    const to = this.#length(end);
    if (to >= 0) this.#at = to;
    return to >= 0;
  }

  #forward(count: number, end: number): boolean {
    this.#at += count;
    return this.#at <= end;
  }

  /** Where the next part ends; -1: not within what surrounds it. */
  #length(end: number): number {
    if (!this.#varint(end)) return -1;
    const to = this.#at + (this.#low >>> 0);
    return this.#high === 0 && to <= end ? to : -1;
  }

  /**
   * A number in as few bytes as it takes, which is how every library writes it. Some skip five more bytes after the fifth of a tag, a
   * length or a 32-bit number, however many there are: what is padded to six to nine has them read on somewhere else.
   */
  #varint(end: number): boolean {
    this.#low = 0;
    this.#high = 0;
    for (let i = 0; i < 10 && this.#at < end; i += 1) {
      const byte = this.#bytes[this.#at] ?? 0;
      this.#at += 1;
      const bits = byte & 127;
      if (i < 4) this.#low |= bits << (7 * i);
      else if (i === 4) {
        this.#low |= bits << 28;
        this.#high = bits >>> 4;
      } else this.#high |= bits << (7 * i - 32);
      if (byte >= 128) continue;
      if (byte === 0 && i > 0) return this.#differs("a number is written in more bytes than it needs");
      return i < 9 || byte === 1 || this.#differs("a number has more than 64 bits");
    }
    return this.#at >= end ? false : this.#differs("a number has more than 64 bits");
  }

  /** The one name that a JavaScript object does not keep when it is set: some lose the entry, and find what is in it under other keys. */
  #isPrototype(from: number, to: number): boolean {
    if (to - from !== PROTOTYPE.length) return false;
    for (let i = 0; i < PROTOTYPE.length; i += 1) if (this.#bytes[from + i] !== PROTOTYPE[i]) return false;
    return true;
  }

  #text(from: number, to: number): boolean {
    let ascii = true;
    for (let i = from; i < to && ascii; i += 1) ascii = (this.#bytes[i] ?? 0) < 128;
    if (ascii) return true;
    const part = this.#bytes.subarray(from, to);
    if (part[0] === 0xef && part[1] === 0xbb && part[2] === 0xbf) return false;
    try {
      utf8.decode(part);
      return true;
    } catch {
      return false;
    }
  }

  #differs(problem: string): false {
    this.problem = problem;
    return false;
  }
}
