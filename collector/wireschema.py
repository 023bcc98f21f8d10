"""The published JSON Schema of the wire types, from the types themselves: `docs/wire.schema.json`."""

import json

import msgspec

from shared.records import Ack, Detail, Header, Status, Summary

TYPES = {"header": Header, "detail": Detail, "summary": Summary, "status": Status, "ack": Ack}


def text() -> str:
    """The schema as JSON: one definition per type, and the five messages under `properties`."""
    schemas, components = msgspec.json.schema_components(TYPES.values(), ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Vigie's wire format, version 1",
        "description": "A batch is a header, a newline, and a zlib-compressed detail or summary; see wire.md.",
        "type": "object",
        "properties": dict(zip(TYPES, schemas, strict=True)),
        "$defs": components,
    }
    return json.dumps(schema, indent=2) + "\n"
