"""Calls the ledger with plain grpcio, without any Brevet library: one JSON object a line, exit 1 where the call failed.

usage: client.py ADDRESS refund CHARGE AMOUNT_CENTS CURRENCY
       client.py ADDRESS list | follow
       client.py ADDRESS import ACCOUNT AMOUNT_CENTS...
       client.py ADDRESS reconcile ID=AMOUNT_CENTS...
The bearer token is in TOKEN. Needs grpcio and protobuf.
"""

import json
import os
import sys

import grpc
from google.protobuf.json_format import MessageToDict
from messages import SERVICE, message


def call(channel, kind, name, request, metadata):
    method = getattr(channel, kind)(
        f"/{SERVICE}/{name}",
        request_serializer=message(f"{name}Request").SerializeToString,
        response_deserializer=message(f"{name}Response").FromString,
    )
    answer = method(request, metadata=metadata, timeout=60)
    return answer if kind.endswith("stream") else [answer]


def responses(channel, command, words, metadata):
    if command == "refund":
        charge, amount, currency = words
        request = message("RefundRequest")(charge=charge, amount_cents=int(amount), currency=currency)
        return call(channel, "unary_unary", "Refund", request, metadata)
    if command in ("list", "follow"):
        name = "Follow" if command == "follow" else "ListEntries"
        return call(channel, "unary_stream", name, message(f"{name}Request")(), metadata)
    if command == "import":
        account, *amounts = words
        requests = (message("ImportRequest")(account=account, amount_cents=int(amount), currency="EUR") for amount in amounts)
        return call(channel, "stream_unary", "Import", requests, metadata)
    if command == "reconcile":
        lines = (word.split("=") for word in words)
        requests = (message("ReconcileRequest")(id=entry, amount_cents=int(amount)) for entry, amount in lines)
        return call(channel, "stream_stream", "Reconcile", requests, metadata)
    sys.exit(__doc__)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    address, command, *words = sys.argv[1:]
    token = os.environ.get("TOKEN", "")
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address) as channel:
        try:
            for response in responses(channel, command, words, metadata):
                print(json.dumps(MessageToDict(response)), flush=True)
        except grpc.RpcError as error:
            print(f"{error.code().name}  {error.details()}", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main()
