"""The ledger's messages, read from the descriptors that its policy ships: no generated code."""

import pathlib

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "payments.v1.Ledger"

_pool = descriptor_pool.DescriptorPool()
_image = pathlib.Path(__file__).parent.parent / "ledger.binpb"
for _file in descriptor_pb2.FileDescriptorSet.FromString(_image.read_bytes()).file:
    _pool.Add(_file)


def message(name):
    """The class of `payments.v1.<name>`."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"payments.v1.{name}"))
