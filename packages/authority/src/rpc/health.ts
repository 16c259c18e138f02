// grpc.health.v1, described as data since nobody publishes it for Connect (grpc/health/v1/health.proto of the gRPC project). Says whether
// the authority takes calls; open to everybody.
import {
  create,
  createFileRegistry,
  type DescFile,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  type Message,
} from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema, FieldDescriptorProto_Label as Label, FieldDescriptorProto_Type as Type } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";

const NAME = "grpc/health/v1/health.proto";
const SERVING = 1;
const NOT_SERVING = 2;

/** The service as Connect takes it. */
export type HealthService = Omit<DescService, "method"> & { method: { check: DescMethodUnary; watch: DescMethodServerStreaming } };

/** What answers. */
export interface HealthImplementation {
  readonly check: (request: Message) => Message;
  readonly watch: (request: Message, context: HandlerContext) => AsyncIterable<Message>;
}

/** Health of the services with these names, and of the whole ("" ); not serving once `drain` is aborted. */
export function health(
  services: readonly string[],
  drain: AbortSignal,
): { file: DescFile; service: HealthService; implementation: HealthImplementation } {
  const file = healthFile();
  const service = file.services.find(isHealth);
  if (service === undefined) throw new Error("the health service's own descriptor does not resolve");
  const known = new Set(["", ...services]);
  const { input, output } = service.method.check;
  const nameIn = (request: Message) => {
    const [field] = input.fields;
    const name: unknown = field && reflect(input, request).get(field);
    return typeof name === "string" ? name : "";
  };
  const answer = (status: number) => {
    const [field] = output.fields;
    const response = create(output);
    if (field) reflect(output, response).set(field, status);
    return response;
  };
  const check = (request: Message) => {
    if (!known.has(nameIn(request))) throw new ConnectError("no such service", Code.NotFound);
    return answer(drain.aborted ? NOT_SERVING : SERVING);
  };
  return {
    file,
    service,
    implementation: {
      check,
      async *watch(request, { signal }) {
        yield check(request);
        if (drain.aborted) return;
        const gone = AbortSignal.any([drain, signal]);
        await new Promise<void>((resolve) => gone.addEventListener("abort", () => resolve(), { once: true }));
        if (drain.aborted) yield answer(NOT_SERVING);
      },
    },
  };
}

function healthFile(): DescFile {
  const type = { label: Label.OPTIONAL, number: 1 };
  const path = { inputType: ".grpc.health.v1.HealthCheckRequest", outputType: ".grpc.health.v1.HealthCheckResponse" };
  const values = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"].map((name, number) => ({ name, number }));
  const statusType = ".grpc.health.v1.HealthCheckResponse.ServingStatus";
  const described = create(FileDescriptorProtoSchema, {
    name: NAME,
    package: "grpc.health.v1",
    syntax: "proto3",
    messageType: [
      { name: "HealthCheckRequest", field: [{ ...type, name: "service", jsonName: "service", type: Type.STRING }] },
      {
        name: "HealthCheckResponse",
        field: [{ ...type, name: "status", jsonName: "status", type: Type.ENUM, typeName: statusType }],
        enumType: [{ name: "ServingStatus", value: values }],
      },
    ],
    service: [
      {
        name: "Health",
        method: [
          { ...path, name: "Check" },
          { ...path, name: "Watch", serverStreaming: true },
        ],
      },
    ],
  });
  const file = createFileRegistry(described, () => undefined).getFile(NAME);
  if (file === undefined) throw new Error("the health service's own descriptor does not resolve");
  return file;
}

function isHealth(service: DescService): service is HealthService {
  return service.method["check"]?.methodKind === "unary" && service.method["watch"]?.methodKind === "server_streaming";
}
