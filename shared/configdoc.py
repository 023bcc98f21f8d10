"""Settings as commented YAML: the comments are the types' own docstrings, so they cannot fall behind."""

import inspect
import re
import textwrap
from collections.abc import Iterator

import msgspec
import yaml

_WIDTH = 100
_ENTRY = re.compile(r"^(\w+): (.*)$")


def render(settings: msgspec.Struct) -> str:
    """`settings` as YAML, each key with its meaning above it."""
    return "\n".join(_lines(settings, "")).lstrip() + "\n"


def meanings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What each field means, from the `Attributes` section of the docstring.

    Raises:
        KeyError: A field has no entry there.
    """
    text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(text).splitlines():
        if entry := _ENTRY.match(line):
            name = entry[1]
            found[name] = entry[2]
        elif name and line.startswith(" "):
            found[name] += f" {line.strip()}"
    return {field: found[field] for field in kind.__struct_fields__}


def example(settings: msgspec.Struct) -> str:
    """`settings` as a YAML list with one item, all of it commented out."""
    lines = [f"  {line}".rstrip() for line in _lines(settings, "  ")]
    lines = [f"  - {line.lstrip()}" if index == 1 else line for index, line in enumerate(lines)]
    return "".join(f"#{line}\n" for line in lines)


def _lines(settings: msgspec.Struct, indent: str) -> Iterator[str]:
    for name, meaning in meanings(type(settings)).items():
        value = getattr(settings, name)
        if not indent:
            yield ""
        yield from textwrap.wrap(
            meaning.replace("None", "null"),
            _WIDTH - len(indent),
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
        )
        if isinstance(value, msgspec.Struct):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {_flow(value)}"


def _flow(value: object) -> str:
    text: str = yaml.safe_dump(msgspec.to_builtins(value), default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
