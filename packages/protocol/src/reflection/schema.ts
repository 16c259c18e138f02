// The descriptors of grpc.reflection.v1 and v1alpha, which differ in the package's name only. Written down as data: the
// service describes itself too, so that tools find it among the others.
import { create, createFileRegistry, type DescFile, type DescMethodBiDiStreaming, type DescService } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  type FieldDescriptorProto,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";

/** Packages under which tools look for reflection, the newer first. */
export const REFLECTION_PACKAGES = ["grpc.reflection.v1", "grpc.reflection.v1alpha"] as const;

type FieldSpec = readonly [name: string, number: number, type: Type.STRING | Type.BYTES | Type.INT32 | string, kind?: "repeated" | "oneof"];

// grpc/reflection/v1/reflection.proto of the gRPC project. A type in quotes is a message of the same file.
const MESSAGES: readonly (readonly [name: string, fields: readonly FieldSpec[], oneof?: string])[] = [
  [
    "ServerReflectionRequest",
    [
      ["host", 1, Type.STRING],
      ["file_by_filename", 3, Type.STRING, "oneof"],
      ["file_containing_symbol", 4, Type.STRING, "oneof"],
      ["file_containing_extension", 5, "ExtensionRequest", "oneof"],
      ["all_extension_numbers_of_type", 6, Type.STRING, "oneof"],
      ["list_services", 7, Type.STRING, "oneof"],
    ],
    "message_request",
  ],
  [
    "ExtensionRequest",
    [
      ["containing_type", 1, Type.STRING],
      ["extension_number", 2, Type.INT32],
    ],
  ],
  [
    "ServerReflectionResponse",
    [
      ["valid_host", 1, Type.STRING],
      ["original_request", 2, "ServerReflectionRequest"],
      ["file_descriptor_response", 4, "FileDescriptorResponse", "oneof"],
      ["all_extension_numbers_response", 5, "ExtensionNumberResponse", "oneof"],
      ["list_services_response", 6, "ListServiceResponse", "oneof"],
      ["error_response", 7, "ErrorResponse", "oneof"],
    ],
    "message_response",
  ],
  ["FileDescriptorResponse", [["file_descriptor_proto", 1, Type.BYTES, "repeated"]]],
  [
    "ExtensionNumberResponse",
    [
      ["base_type_name", 1, Type.STRING],
      ["extension_number", 2, Type.INT32, "repeated"],
    ],
  ],
  ["ListServiceResponse", [["service", 1, "ServiceResponse", "repeated"]]],
  ["ServiceResponse", [["name", 1, Type.STRING]]],
  [
    "ErrorResponse",
    [
      ["error_code", 1, Type.INT32],
      ["error_message", 2, Type.STRING],
    ],
  ],
];

/** The file that describes one version of the reflection service. */
export function reflectionFile(packageName: (typeof REFLECTION_PACKAGES)[number]): DescFile {
  const name = `${packageName.replaceAll(".", "/")}/reflection.proto`;
  const file = create(FileDescriptorProtoSchema, {
    name,
    package: packageName,
    syntax: "proto3",
    messageType: MESSAGES.map(([message, fields, oneof]) => messageOf(packageName, message, fields, oneof)),
    service: [
      {
        name: "ServerReflection",
        method: [
          {
            name: "ServerReflectionInfo",
            inputType: `.${packageName}.ServerReflectionRequest`,
            outputType: `.${packageName}.ServerReflectionResponse`,
            clientStreaming: true,
            serverStreaming: true,
          },
        ],
      },
    ],
  });
  const described = createFileRegistry(file, () => undefined).getFile(name);
  if (!described) throw new Error("the reflection service's own descriptor does not resolve");
  return described;
}

/** The descriptor of a reflection service. */
export type ReflectionService = Omit<DescService, "method"> & { method: { serverReflectionInfo: DescMethodBiDiStreaming } };

/** The one service of {@link reflectionFile}. */
export function reflectionService(file: DescFile): ReflectionService {
  const service = file.services.find(isReflection);
  if (!service) throw new Error(`${file.name} does not describe reflection`);
  return service;
}

function isReflection(service: DescService): service is ReflectionService {
  return service.method.serverReflectionInfo?.methodKind === "bidi_streaming";
}

function messageOf(packageName: string, name: string, fields: readonly FieldSpec[], oneof: string | undefined): DescriptorProto {
  return create(DescriptorProtoSchema, {
    name,
    field: fields.map((field) => fieldOf(packageName, field)),
    oneofDecl: oneof === undefined ? [] : [{ name: oneof }],
  });
}

function fieldOf(packageName: string, [name, number, type, kind]: FieldSpec): FieldDescriptorProto {
  const field = create(FieldDescriptorProtoSchema, {
    name,
    number,
    jsonName: name.replaceAll(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase()),
    label: kind === "repeated" ? Label.REPEATED : Label.OPTIONAL,
    type: typeof type === "string" ? Type.MESSAGE : type,
  });
  if (typeof type === "string") field.typeName = `.${packageName}.${type}`;
  if (kind === "oneof") field.oneofIndex = 0;
  return field;
}
