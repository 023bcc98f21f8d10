"""Messages of released wire versions stay readable for ever; the published schema is that of the types."""

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from collector import wireschema
from shared import wire
from shared.records import Detail
from shared.topics import Address

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "shared" / "golden"


def plain(message: object) -> Any:
    """As JSON would say it."""
    return json.loads(msgspec.json.encode(message))


HERE = Address("greenhouse", "pi-roof", "batch")


def payload(name: str) -> bytes:
    return base64.b64decode((GOLDEN / f"{name}.b64").read_text())


def expected(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["v1-detail", "v1-summary", "v1-held"])
def test_a_batch_of_an_old_version_is_read_as_it_was_meant(name: str) -> None:
    batch = wire.decode_batch(payload(name), HERE)
    assert plain(batch) == expected(name)


def test_a_status_of_an_old_version_is_read_as_it_was_meant() -> None:
    assert plain(wire.decode_status(payload("v1-status"))) == expected("v1-status")


def test_an_ack_of_an_old_version_is_read_as_it_was_meant() -> None:
    assert plain(wire.decode_ack(payload("v1-ack"))) == expected("v1-ack")


def test_the_published_schema_is_current() -> None:
    """Made by `vigie-collector config --wire-schema > docs/wire.schema.json`."""
    assert (ROOT / "docs" / "wire.schema.json").read_text() == wireschema.text()


def test_real_messages_follow_the_published_schema() -> None:
    schema = json.loads(wireschema.text())
    check = jsonschema.Draft202012Validator(schema).validate
    for name in ("v1-detail", "v1-summary", "v1-held"):
        header, packed = wire.split(payload(name))
        batch = wire.decode_batch(payload(name), HERE)
        body = "detail" if isinstance(batch.body, Detail) else "summary"
        check({"header": json.loads(msgspec.json.encode(header)), body: json.loads(wire.inflate(packed))})
    check({"status": json.loads(payload("v1-status")), "ack": json.loads(payload("v1-ack"))})
    with pytest.raises(jsonschema.ValidationError):
        check({"ack": {"lane": "express"}})
