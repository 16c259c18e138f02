// Lets @grpc/grpc-js speak Protobuf-ES messages: turns a generated service into what its Server and Client take. Knows nothing of the ledger.
import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type Message,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  type MethodDefinition,
  makeClientConstructor,
  type requestCallback,
  type ServiceClientConstructor,
  type ServiceDefinition,
} from "@grpc/grpc-js";

type Input<M extends DescMethod> = MessageShape<M["input"]>;
type Output<M extends DescMethod> = MessageShape<M["output"]>;

/** The handlers of a service, one a method, under the names that the generated code gives them (`listEntries`). */
export type Handlers<S extends DescService> = {
  [K in keyof S["method"]]: S["method"][K] extends infer M extends DescMethod
    ? {
        unary: handleUnaryCall<Input<M>, Output<M>>;
        server_streaming: handleServerStreamingCall<Input<M>, Output<M>>;
        client_streaming: handleClientStreamingCall<Input<M>, Output<M>>;
        bidi_streaming: handleBidiStreamingCall<Input<M>, Output<M>>;
      }[M["methodKind"]]
    : never;
};

/** The methods that a client of a service has. */
export type Callers<S extends DescService> = {
  [K in keyof S["method"]]: S["method"][K] extends infer M extends DescMethod
    ? {
        unary: (request: Input<M>, metadata: Metadata, callback: requestCallback<Output<M>>) => ClientUnaryCall;
        server_streaming: (request: Input<M>, metadata?: Metadata) => ClientReadableStream<Output<M>>;
        client_streaming: (metadata: Metadata, callback: requestCallback<Output<M>>) => ClientWritableStream<Input<M>>;
        bidi_streaming: (metadata?: Metadata) => ClientDuplexStream<Input<M>, Output<M>>;
      }[M["methodKind"]]
    : never;
};

/** A class whose instances have the service's methods. */
export type ClientClass<S extends DescService> = new (...args: ConstructorParameters<typeof Client>) => Client & Callers<S>;

/** The service as grpc-js describes one; for `server.addService`. */
export function serviceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, methodDefinition(service, method)]));
}

/** A client class of the service: `new (clientClass(Ledger))(address, credentials, options)`. */
export function clientClass<S extends DescService>(service: S): ClientClass<S> {
  return makeClientConstructor(serviceDefinition(service), service.typeName) as ClientClass<S> & ServiceClientConstructor;
}

function methodDefinition(service: DescService, method: DescMethod): MethodDefinition<Message, Message> {
  return {
    path: `/${service.typeName}/${method.name}`,
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: (message) => bytesOf(method.input, message),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (message) => bytesOf(method.output, message),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

function bytesOf(schema: DescMessage, message: Message): Buffer {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
