"""The wire contract of NRI, by its own Go module: every message has the same fields."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from tests.support.nri import interface

from trilby.cri.nri.owners import Field
from trilby.cri.nri.proto import adjustment_pb2, plugin_pb2, pod_pb2

FILES = (pod_pb2, adjustment_pb2, plugin_pb2)
#: Not ours: what WebAssembly plugins call, and an enum that Python cannot have (see owners.py).
OTHERS = ("HostFunctions", "LogRequest", "Field")


def contract(*files: FileDescriptorProto) -> dict[str, object]:
    """Names to numbers and types, with those of all messages, enums and methods."""
    found: dict[str, object] = {}

    def enum(prefix: str, one: EnumDescriptorProto) -> None:
        for value in one.value:
            found[f"{prefix}{one.name}.{value.name}"] = value.number

    def message(prefix: str, one: DescriptorProto) -> None:
        name = f"{prefix}{one.name}"
        found[name] = "message"
        for field in one.field:
            found[f"{name}.{field.name}"] = shape(field)
        for nested in one.nested_type:
            message(f"{name}.", nested)
        for inner in one.enum_type:
            enum(f"{name}.", inner)

    for file in files:
        for one in file.message_type:
            message("", one)
        for some in file.enum_type:
            enum("", some)
        for service in file.service:
            for method in service.method:
                name = f"{file.package}.{service.name}/{method.name}()"
                found[name] = (method.input_type, method.output_type)
    return {
        name: value
        for name, value in found.items()
        if not any(name.removeprefix(f"{files[0].package}.").startswith(some) for some in OTHERS)
        or name.startswith("FieldOwners")
    }


def shape(field: FieldDescriptorProto) -> tuple[object, ...]:
    return (field.number, field.type, field.label, field.type_name)


def own(module: object) -> FileDescriptorProto:
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)  # type: ignore[attr-defined]
    return file


@pytest.mark.timeout(900)  # the Go program may have to be built
def test_the_two_descriptions_are_one() -> None:
    theirs = interface()
    assert contract(*map(own, FILES)) == contract(theirs)
    assert len([name for name in contract(theirs) if name.endswith("()")]) == 20
    (field,) = [one for one in theirs.enum_type if one.name == "Field"]
    assert sorted(int(number) for number in Field) == [
        value.number for value in field.value if value.number
    ]
