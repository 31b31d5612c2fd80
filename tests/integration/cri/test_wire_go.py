"""The wire contract, by the Go module of the real API: it reads what we write, field by field."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from tests.support.criwire import Decoder, api_descriptor, decoder

from trilby.cri.proto import (
    common_pb2,
    container_pb2,
    image_pb2,
    runtime_pb2,
    sandbox_pb2,
    stats_pb2,
)

FILES = (common_pb2, container_pb2, image_pb2, runtime_pb2, sandbox_pb2, stats_pb2)
MESSAGES = {
    message.full_name: message
    for file in FILES
    for message in file.DESCRIPTOR.message_types_by_name.values()
}

Kind = FieldDescriptorProto.Type
#: The extreme values of each type: what a narrower or a differently signed type would change.
VALUES: dict[int, tuple[object, ...]] = {
    Kind.TYPE_BOOL: (True,),
    Kind.TYPE_STRING: ("tĕxt \N{TOP HAT}", "x" * 300),
    Kind.TYPE_BYTES: (bytes(range(256)), b"\0"),
    Kind.TYPE_INT32: (-(2**31), 2**31 - 1),
    Kind.TYPE_UINT32: (2**32 - 1, 1),
    Kind.TYPE_INT64: (-(2**63), 2**63 - 1),
    Kind.TYPE_UINT64: (2**64 - 1, 1),
    Kind.TYPE_DOUBLE: (1.5e300, -0.1),
    Kind.TYPE_FLOAT: (-1.5, 0.25),
}


@pytest.fixture(scope="module")
def go() -> Iterator[Decoder]:
    with decoder() as running:
        yield running


@pytest.mark.timeout(900)  # the Go program may have to be built
def test_the_two_descriptions_are_one() -> None:
    ours, theirs = _contract(*map(_own_file, FILES)), _contract(api_descriptor())
    assert {name for name in theirs if name.endswith("()")} == {
        name for name in ours if name.endswith("()")
    }
    assert ours == theirs
    assert len([name for name in theirs if name.endswith("()")]) == 41


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_field_is_read_by_go(go: Decoder, name: str) -> None:
    sent = _filled(MESSAGES[name], itertools.count(1))
    _round_trip(go, sent)
    assert {field.name for field, _ in sent.ListFields()} == set(MESSAGES[name].fields_by_name)


def test_empty_messages(go: Decoder) -> None:
    for descriptor in MESSAGES.values():
        message = message_factory.GetMessageClass(descriptor)()
        assert _round_trip(go, message) == b""


def test_every_enum_value_is_known_to_go(go: Decoder) -> None:
    seen = 0
    for descriptor in MESSAGES.values():
        for field in descriptor.fields:
            for value in field.enum_type.values if field.enum_type else ():
                message = message_factory.GetMessageClass(descriptor)()
                number = [value.number] if field.is_repeated else value.number
                _set(message, field, number)
                _round_trip(go, message)
                seen += 1
    assert seen > 20


def test_a_field_that_the_api_does_not_have_is_told(go: Decoder) -> None:
    """The checks above can fail: number 1999 is nobody's."""
    version = runtime_pb2.VersionResponse(version="v1").SerializeToString()
    stranger = b"\xfa\x7c\x01x"
    answer = go.decode("runtime.v1.VersionResponse", version + stranger)
    assert answer.unknown == ["runtime.v1.VersionResponse"]
    assert answer.data == version
    nested = runtime_pb2.StatusResponse.FromString(b"\x0a\x04" + stranger)
    answer = go.decode("runtime.v1.StatusResponse", nested.SerializeToString())
    assert answer.unknown == ["runtime.v1.StatusResponse.status"]


def _round_trip(go: Decoder, sent: Message) -> bytes:
    """Through Go's types and back: equal, nothing unknown on either side."""
    answer = go.decode(sent.DESCRIPTOR.full_name, sent.SerializeToString())
    assert answer.unknown == []
    back = type(sent).FromString(answer.data)
    assert back == sent
    assert len(UnknownFieldSet(back)) == 0
    return answer.data


def _filled(descriptor: Descriptor, numbers: Iterator[int]) -> Message:
    """A message with every field set, those of messages in it too, and no two texts alike."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            kind = field.message_type.fields_by_name["value"]
            assert field.message_type.fields_by_name["key"].type == Kind.TYPE_STRING
            entries = getattr(message, field.name)
            for _ in range(2):
                entries[f"key {next(numbers)}"] = _value(kind, numbers, 0)
        elif field.is_repeated:
            getattr(message, field.name).extend(_value(field, numbers, turn) for turn in range(3))
        else:
            _set(message, field, _value(field, numbers, 0))
    return message


def _value(field: FieldDescriptor, numbers: Iterator[int], turn: int) -> object:
    if field.message_type:
        return _filled(field.message_type, numbers)
    if field.enum_type:
        return field.enum_type.values[-1 - turn % len(field.enum_type.values)].number
    choice = VALUES[field.type]
    value = choice[turn % len(choice)]
    return f"{value} {next(numbers)}" if isinstance(value, str) else value


def _set(message: Message, field: FieldDescriptor, value: object) -> None:
    if isinstance(value, Message):
        target = getattr(message, field.name)
        target.CopyFrom(value)
        target.SetInParent()
    elif isinstance(value, list):
        getattr(message, field.name).extend(value)
    else:
        setattr(message, field.name, value)


def _own_file(module: object) -> FileDescriptorProto:
    described = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(described)  # type: ignore[attr-defined]  # generated modules
    return described


def _contract(*files: FileDescriptorProto) -> dict[str, object]:
    """All that decides what bytes mean, by name; in which file it is said does not matter."""
    found: dict[str, object] = {}
    for file in files:
        assert (file.package, file.syntax) == ("runtime.v1", "proto3")
        for enum in file.enum_type:
            found[f"enum {enum.name}"] = {value.name: value.number for value in enum.value}
        for message in file.message_type:
            found.update(_message_contract(message, f".{file.package}"))
        for service in file.service:
            for method in service.method:
                found[f"{service.name}/{method.name}()"] = (
                    method.input_type,
                    method.output_type,
                    method.client_streaming,
                    method.server_streaming,
                )
    return found


def _message_contract(message: DescriptorProto, scope: str) -> Iterator[tuple[str, object]]:
    name = f"{scope}.{message.name}"
    yield name, message.options.map_entry
    yield f"{name} reserved", [(span.start, span.end) for span in message.reserved_range]
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        packed = field.options.packed if field.options.HasField("packed") else None
        yield (
            f"{name}.{field.name}",
            (
                field.number,
                field.type,
                field.label,
                field.type_name,
                oneof,
                field.proto3_optional,
                packed,
                field.options.deprecated,
                field.options.debug_redact,
            ),
        )
    for enum in message.enum_type:
        yield f"{name} enum {enum.name}", {value.name: value.number for value in enum.value}
    for nested in message.nested_type:
        yield from _message_contract(nested, name)
