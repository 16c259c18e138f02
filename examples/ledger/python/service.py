"""The ledger once more: in Python, in memory, and without a line of Brevet. `brevet guard --proxy` stands in front of it.

usage: service.py [PORT]   prints one JSON line when it listens; needs grpcio and protobuf
"""

import concurrent.futures
import json
import signal
import sys
import threading

import grpc
from messages import SERVICE, message

Entry = message("Entry")
CHARGE, REFUND = 1, 2


class Ledger:
    """One charge over 1299.00 EUR to begin with."""

    def __init__(self):
        self.changed = threading.Condition()
        self.entries = [Entry(id="ent_1", account="acme", kind=CHARGE, amount_cents=129900, currency="EUR")]

    def refund(self, request, context):
        with self.changed:
            charge = next((entry for entry in self.entries if entry.id == request.charge and entry.kind == CHARGE), None)
            if charge is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f'"{request.charge}" is no charge in the book')
            returned = sum(entry.amount_cents for entry in self.entries if entry.charge == charge.id)
            if request.amount_cents <= 0 or request.currency != charge.currency or returned + request.amount_cents > charge.amount_cents:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not what is left of the charge")
            refund = Entry(kind=REFUND, charge=charge.id, account=charge.account, amount_cents=request.amount_cents, currency=request.currency)
            self._book(refund)
        return message("RefundResponse")(entry=refund)

    def list_entries(self, request, context):
        del context
        for entry in list(self.entries):
            if request.account in ("", entry.account):
                yield message("ListEntriesResponse")(entry=entry)

    def follow(self, request, context):
        told = 0
        while context.is_active():
            with self.changed:
                self.changed.wait_for(lambda: len(self.entries) > told, timeout=0.2)
                news = self.entries[told:]
                told = len(self.entries)
            for entry in news:
                if request.account in ("", entry.account):
                    yield message("FollowResponse")(entry=entry)

    def import_charges(self, requests, context):
        del context
        charges = [Entry(kind=CHARGE, account=each.account, amount_cents=each.amount_cents, currency=each.currency) for each in requests]
        with self.changed:
            for charge in charges:
                self._book(charge)
        return message("ImportResponse")(imported=len(charges))

    def reconcile(self, requests, context):
        del context
        for line in requests:
            entry = next((entry for entry in self.entries if entry.id == line.id), None)
            difference = "not in the book" if entry is None else "" if entry.amount_cents == line.amount_cents else f"the book has {entry.amount_cents}"
            yield message("ReconcileResponse")(id=line.id, matches=difference == "", difference=difference)

    def _book(self, entry):
        entry.id = f"ent_{len(self.entries) + 1}"
        entry.time.GetCurrentTime()
        self.entries.append(entry)
        self.changed.notify_all()


def handlers(ledger):
    """All four kinds of call."""

    def handler(kind, behaviour, name):
        serializer = message(f"{name}Response").SerializeToString
        return kind(behaviour, request_deserializer=message(f"{name}Request").FromString, response_serializer=serializer)

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Refund": handler(grpc.unary_unary_rpc_method_handler, ledger.refund, "Refund"),
            "ListEntries": handler(grpc.unary_stream_rpc_method_handler, ledger.list_entries, "ListEntries"),
            "Follow": handler(grpc.unary_stream_rpc_method_handler, ledger.follow, "Follow"),
            "Import": handler(grpc.stream_unary_rpc_method_handler, ledger.import_charges, "Import"),
            "Reconcile": handler(grpc.stream_stream_rpc_method_handler, ledger.reconcile, "Reconcile"),
        },
    )


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((handlers(Ledger()),))
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 0}")
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    print(json.dumps({"address": f"127.0.0.1:{port}", "language": "python"}), flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
