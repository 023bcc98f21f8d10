"""YAML into typed settings, with errors that name file, key, rule, value and the way out."""

import difflib
import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

S = TypeVar("S", bound=msgspec.Struct)


class ConfigError(ValueError):
    """Raised for a configuration that cannot be used; the message is for the person who wrote the file."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice, which YAML would settle silently. A whole number as key is its text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # PyYAML's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:int":
                key_node.tag = "tag:yaml.org,2002:str"
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise ConfigError(
                    f"line {key_node.start_mark.line + 1}: the key {key!r} must be text; put it in quotes"
                )
            if key in seen:
                raise ConfigError(f"line {key_node.start_mark.line + 1}: the key {key!r} comes twice")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load(path: Path, kind: type[S]) -> S:
    """Read a YAML file into `kind`.

    Raises:
        ConfigError: No such file, no YAML, an unknown key, or a value that breaks its rule.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no text file in UTF-8; name a YAML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(text, kind, str(path))


def parse(text: str, kind: type[S], name: str) -> S:
    """Read YAML text into `kind`; `name` stands in messages for the file.

    Raises:
        ConfigError: As `load`.
    """
    try:
        data = yaml.load(text, _Loader)  # noqa: S506  # _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise ConfigError(f"{name}: line {line}: not valid YAML: {error.problem}{hint}") from error
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    return convert({} if data is None else data, kind, name)


def convert(data: object, kind: type[S], name: str) -> S:
    """Plain data into `kind`, checked key by key so that a message can name the one that is wrong.

    Raises:
        ConfigError: As `load`.
    """
    try:
        _check(data, kind, "")
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _check(data: object, kind: Any, key: str) -> None:  # noqa: ANN401  # a type expression
    """Raise ConfigError for the first key in `data` that breaks its rule; `key` is the path to it."""
    struct = _struct_in(kind)
    if struct is not None and isinstance(data, dict):
        _check_keys(data, struct, key)
        hints = get_type_hints(struct, include_extras=True)
        for name, value in data.items():
            _check(value, hints[name], f"{key}.{name}" if key else name)
        _check_value(data, kind, key)
        return
    items = next((part for part in _parts(kind) if get_origin(part) in {list, tuple}), None)
    values = next((part for part in _parts(kind) if get_origin(part) is dict), None)
    if items is not None and isinstance(data, list):
        for index, item in enumerate(data):
            _check(item, get_args(items)[0], f"{key}[{index}]")
    if values is not None and isinstance(data, dict):
        for name, value in data.items():
            _check(value, get_args(values)[1], f"{key}.{name}")
    _check_value(data, kind, key)


def _parts(kind: Any) -> tuple[Any, ...]:  # noqa: ANN401  # a type expression
    """The types that `kind` allows, if it allows one of several; annotations such as limits are looked through."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:  # noqa: ANN401  # a type expression
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _check_keys(data: dict[str, object], struct: type[msgspec.Struct], key: str) -> None:
    fields = msgspec.structs.fields(struct)
    known = [field.name for field in fields]
    where = f"in '{key}'" if key else "at the top level"
    for name in data:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise ConfigError(
                f"'{f'{key}.' if key else ''}{name}' is not a known key{hint} Known {where}: {_listed(known)}"
            )
    for field in fields:
        if field.required and field.name not in data:
            raise ConfigError(f"'{f'{key}.' if key else ''}{field.name}' is missing; it has no default")


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _check_value(data: object, kind: Any, key: str) -> None:  # noqa: ANN401  # a type expression
    try:
        msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        rule = str(error).split(" - at `$")[0]
        where = f"'{key}': " if key else ""
        named = [word for part in _parts(kind) if get_origin(part) is Literal for word in get_args(part)]
        rule = f"must be one of {_listed(named)}" if named else _plain(rule)
        raise ConfigError(f"{where}{rule}, got {_shown(data)}") from None


_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "keys and values",
    "array": "a list",
    "null": "nothing",
}


def _plain(rule: str) -> str:
    """The rule that msgspec states, in words of a configuration file."""
    rule = rule.split(", got ", maxsplit=1)[0]
    rule = re.sub("`([a-z |]+)`", lambda found: " or ".join(_WORDS.get(w, w) for w in found[1].split(" | ")), rule)
    return rule[:1].lower() + rule[1:]


def _shown(data: object) -> str:
    text = repr(data)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004  # a line in a terminal


def schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a settings type, for editors."""
    described = msgspec.json.schema(kind, schema_hook=_any)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def _any(kind: type) -> dict[str, Any]:
    """The schema of a value that is checked later, by whoever it is for."""
    if kind is object:
        return {"title": "Value"}
    raise NotImplementedError
