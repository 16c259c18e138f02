// Finds descriptors by file name, symbol and extension number, for reflection to answer from. Read-only once built.
import { type DescEnum, type DescFile, type DescMessage, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** An index over files and all that they import. */
export class Symbols {
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();
  readonly #extensions = new Map<string, Map<number, DescFile>>();
  readonly #services = new Set<string>();

  constructor(files: readonly DescFile[]) {
    for (const file of files) {
      this.#add(file);
      for (const service of file.services) this.#services.add(service.typeName);
    }
  }

  /** Names of the services in the files given, not in those imported. Sorted. */
  services(): readonly string[] {
    return [...this.#services].toSorted();
  }

  /** Serialized FileDescriptorProtos of the file and what it imports, imports first. */
  byFilename(name: string): readonly Uint8Array[] | undefined {
    return serialized(this.#files.get(name));
  }

  /** The same for the file that defines a service, method, message, enum, extension, field or enum value. */
  bySymbol(symbol: string): readonly Uint8Array[] | undefined {
    return serialized(this.#symbols.get(symbol.replace(/^\./, "").replace("/", ".")));
  }

  /** The same for the file that extends a message with a field number. */
  byExtension(message: string, number: number): readonly Uint8Array[] | undefined {
    return serialized(this.#extensions.get(message)?.get(number));
  }

  /** Field numbers of all extensions of a message; undefined if there is no such message. */
  extensionNumbers(message: string): readonly number[] | undefined {
    const numbers = this.#extensions.get(message);
    if (numbers) return [...numbers.keys()].toSorted((a, b) => a - b);
    return this.#symbols.has(message) ? [] : undefined;
  }

  #add(file: DescFile): void {
    const name = protoName(file);
    if (this.#files.has(name)) return;
    this.#files.set(name, file);
    for (const dependency of file.dependencies) this.#add(dependency);
    for (const service of file.services) {
      this.#symbols.set(service.typeName, file);
      for (const method of service.methods) this.#symbols.set(`${service.typeName}.${method.name}`, file);
    }
    for (const message of file.messages) this.#addMessage(message, file);
    for (const type of file.enums) this.#addEnum(type, file);
    for (const extension of file.extensions) {
      this.#symbols.set(extension.typeName, file);
      const numbers = this.#extensions.get(extension.extendee.typeName) ?? new Map<number, DescFile>();
      this.#extensions.set(extension.extendee.typeName, numbers.set(extension.number, file));
    }
  }

  #addMessage(message: DescMessage, file: DescFile): void {
    this.#symbols.set(message.typeName, file);
    for (const field of message.fields) this.#symbols.set(`${message.typeName}.${field.name}`, file);
    for (const nested of message.nestedMessages) this.#addMessage(nested, file);
    for (const nested of message.nestedEnums) this.#addEnum(nested, file);
  }

  #addEnum(type: DescEnum, file: DescFile): void {
    this.#symbols.set(type.typeName, file);
    // Enum values live beside their enum, not inside it.
    const scope = type.typeName.slice(0, type.typeName.lastIndexOf(".") + 1);
    for (const value of type.values) this.#symbols.set(scope + value.name, file);
  }
}

function protoName(file: DescFile): string {
  return file.proto.name;
}

function serialized(file: DescFile | undefined): readonly Uint8Array[] | undefined {
  if (!file) return undefined;
  const files = new Map<string, DescFile>();
  const visit = (one: DescFile) => {
    if (files.has(protoName(one))) return;
    for (const dependency of one.dependencies) visit(dependency);
    files.set(protoName(one), one);
  };
  visit(file);
  return [...files.values()].map((one) => toBinary(FileDescriptorProtoSchema, one.proto));
}
