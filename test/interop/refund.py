"""One Refund with plain grpcio, as a caller would write it: no Brevet library. Prints one JSON object.

usage: refund.py ADDRESS CHARGE AMOUNT_CENTS PROTO_DIR   (the bearer token is in TOKEN)
"""

import json
import os
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc


def stubs(proto_dir):
    out = tempfile.mkdtemp(prefix="brevet-stubs-")
    well_known = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    files = ["payments/v1/ledger.proto"]
    if protoc.main(["protoc", f"-I{proto_dir}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", *files]) != 0:
        sys.exit("the stubs cannot be generated")
    sys.path.insert(0, out)
    from payments.v1 import ledger_pb2, ledger_pb2_grpc

    return ledger_pb2, ledger_pb2_grpc


def main():
    address, charge, amount, proto_dir = sys.argv[1:5]
    messages, services = stubs(proto_dir)
    with grpc.insecure_channel(address) as channel:
        ledger = services.LedgerStub(channel)
        metadata = [("authorization", f"Bearer {os.environ['TOKEN']}")] if os.environ.get("TOKEN") else []
        try:
            answer = ledger.Refund(
                messages.RefundRequest(charge=charge, amount_cents=int(amount), currency="EUR"), metadata=metadata, timeout=10
            )
            print(json.dumps({"ok": True, "refunded": answer.entry.amount_cents}))
        except grpc.RpcError as error:
            details = b"".join(value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
            print(json.dumps({"ok": False, "code": error.code().name, "message": error.details(), "details": len(details), "text": str(error)}))


if __name__ == "__main__":
    main()
