"""The versions in an ONNX file's own header, which the runtime does not tell, without the `onnx` package.

A model is a protocol buffer (`onnx.proto`, `ModelProto`). Two of its fields are read here and the others, among them
the graph with its weights, are stepped over.
"""

import os
from pathlib import Path
from typing import BinaryIO

IR_VERSION, OPSETS = 1, 8
"""Numbers of fields in `ModelProto`."""

DOMAIN, VERSION = 1, 2
"""Numbers of fields in `OperatorSetIdProto`."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""

VARINT_BYTES_MAX = 10
OPSET_BYTES_MAX = 1000

FIELDS_MAX = 100_000
"""Of a model beside its graph: metadata and functions. A file that only looks like one could go on for hours."""


def versions(path: Path) -> tuple[int | None, dict[str, int]]:
    """The IR version, and the operator sets by domain ('' is ONNX's own), as far as they can be read."""
    ir_version: int | None = None
    opsets: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            for _ in range(FIELDS_MAX):
                if file.tell() >= end:
                    break
                number, value = _field(file, end)
                if number == IR_VERSION and isinstance(value, int):
                    ir_version = value
                if number == OPSETS and isinstance(value, bytes):
                    domain, version = _opset(value)
                    opsets[domain] = version
    except (OSError, ValueError):
        pass  # as far as it could be read
    return ir_version, opsets


def _field(file: BinaryIO, end: int) -> tuple[int, int | bytes | None]:
    """The number of the next field and its value; None for one that is stepped over.

    Raises:
        ValueError: This is no protocol buffer.
    """
    key = _varint(file)
    number, kind = key >> 3, key & 7
    if kind == VARINT and number:
        return number, _varint(file)
    size = {FIXED64: 8, FIXED32: 4}.get(kind)
    size = _varint(file) if kind == BYTES else size
    if number == 0 or size is None or file.tell() + size > end:
        raise ValueError("no protocol buffer")
    if kind == BYTES and number == OPSETS and size <= OPSET_BYTES_MAX:
        return number, file.read(size)
    file.seek(size, os.SEEK_CUR)
    return number, None


def _varint(file: BinaryIO) -> int:
    """A whole number, seven bits a byte, the lowest first.

    Raises:
        ValueError: It does not end.
    """
    value = 0
    for index in range(VARINT_BYTES_MAX):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80:  # noqa: PLR2004  # the bit that says that more follow
            return value
    raise ValueError("no protocol buffer")


def _opset(data: bytes) -> tuple[str, int]:
    """Domain and version of an operator set.

    Raises:
        ValueError: `data` is none.
    """
    domain, version, at = "", 0, 0
    while at + 1 < len(data):
        key, size, at = data[at], data[at + 1], at + 2
        if key == DOMAIN << 3 | BYTES:
            domain, at = data[at : at + size].decode("utf-8", "replace"), at + size
        elif key == VERSION << 3 | VARINT and size < 0x80:  # noqa: PLR2004  # opsets have one byte for long to come
            version = size
        else:
            raise ValueError("no operator set")
    return domain, version
