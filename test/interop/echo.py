"""A service of all four kinds that echoes bytes, and a client that looks at what came through: plain grpcio, without Brevet.

usage: echo.py serve            prints one JSON line when it listens
       echo.py call ADDRESS     prints one JSON object: what each kind of call brought (the bearer token is in TOKEN)
"""

import concurrent.futures
import json
import os
import signal
import sys
import threading
import time

import grpc

SERVICE = "payments.v1.Ledger"
UNARY, WATCH, UPLOAD, CHAT = "GetEntry", "ListEntries", "Import", "Reconcile"
BLOBS = [bytes([0, 1, 254, 255]), b"", b"second"]
cancelled = threading.Event()


def told(context):
    """Says in metadata what came, and what must not have come."""
    came = context.invocation_metadata()
    leaked = [name for name, _ in came if name.startswith("brevet-")]
    blobs = [("x-blob-bin", value) for name, value in came if name == "x-blob-bin"]
    left = context.time_remaining()
    context.send_initial_metadata([("x-leaked", ",".join(leaked)), ("x-left", str(left is not None and left < 100)), *blobs])
    context.set_trailing_metadata((("x-trailer", "end"), ("x-trailer-bin", bytes([0, 255]))))
    if dict(came).get("x-fail"):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "grün: 100%")


def unary(request, context):
    if request == b"was it cancelled?":
        return b"yes" if cancelled.wait(5) else b"no"
    told(context)
    return request


def watch(request, context):
    told(context)
    if request == b"wait":
        context.add_callback(cancelled.set)
        yield b"waiting"
        cancelled.wait(10)
        return
    if request == b"late":
        time.sleep(3)
    for _ in range(3):
        yield request


def upload(requests, context):
    told(context)
    return b"".join(requests)


def chat(requests, context):
    told(context)
    yield from requests


def serve():
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8), options=options)
    methods = {
        UNARY: grpc.unary_unary_rpc_method_handler(unary),
        WATCH: grpc.unary_stream_rpc_method_handler(watch),
        UPLOAD: grpc.stream_unary_rpc_method_handler(upload),
        CHAT: grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    print(json.dumps({"address": f"127.0.0.1:{port}", "language": "python"}), flush=True)
    server.wait_for_termination()


def outcome(call, responses):
    """What a call brought, in words and sizes."""
    sizes, code, message = [], "OK", ""
    try:
        for response in responses():
            sizes.append(len(response))
    except grpc.RpcError as error:
        code, message = error.code().name, error.details()
    initial, trailing = dict(call.initial_metadata() or ()), dict(call.trailing_metadata() or ())
    return {
        "code": code,
        "message": message,
        "sizes": sizes,
        "blobs": [value.hex() for name, value in call.initial_metadata() or () if name == "x-blob-bin"],
        "leaked": initial.get("x-leaked"),
        "left": initial.get("x-left"),
        "trailer": trailing.get("x-trailer"),
        "blob": trailing["x-trailer-bin"].hex() if "x-trailer-bin" in trailing else None,
        "windowEnds": "brevet-window-ends" in trailing,
    }


def call(address):
    metadata = [("authorization", f"Bearer {os.environ['TOKEN']}"), ("brevet-other", "1"), *(("x-blob-bin", blob) for blob in BLOBS)]
    large = bytes(6 << 20)
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        path = f"/{SERVICE}/"
        kinds = {"metadata": metadata, "timeout": 30}

        def whole(future):
            return lambda: [future.result()]

        def results(**more):
            asked = {**kinds, **more}
            one = channel.unary_unary(path + UNARY).future(large, **asked)
            many = channel.unary_stream(path + WATCH)(b"abc", **asked)
            up = channel.stream_unary(path + UPLOAD).future(iter([b"a", large, b"b"]), **asked)
            both = channel.stream_stream(path + CHAT)(iter([b"1", b"22", large]), **asked)
            return {
                "unary": outcome(one, whole(one)),
                "watch": outcome(many, lambda: many),
                "upload": outcome(up, whole(up)),
                "chat": outcome(both, lambda: both),
            }

        answer = {"plain": results(), "gzip": results(compression=grpc.Compression.Gzip), "failed": results(metadata=[*metadata, ("x-fail", "1")])}
        waiting = channel.unary_stream(path + WATCH)(b"wait", **kinds)
        next(waiting)
        waiting.cancel()
        answer["cancelled"] = channel.unary_unary(path + UNARY)(b"was it cancelled?", **kinds).decode()
        began = time.monotonic()
        late = channel.unary_stream(path + WATCH)(b"late", metadata=metadata, timeout=0.3)
        answer["late"] = outcome(late, lambda: late)["code"]
        answer["lateAfter"] = time.monotonic() - began
        print(json.dumps(answer))


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif len(sys.argv) == 3 and sys.argv[1] == "call":
        call(sys.argv[2])
    else:
        sys.exit(__doc__)
