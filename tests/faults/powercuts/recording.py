"""What a program does to its files, recorded at the system calls: strace's output as operations on files.

Marks, which the program writes into a file beside its folder, stand among the operations in their true order.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

MARKS = "marks"
_CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat"
_LINE = re.compile(r"^\d+ +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_BEGUN = re.compile(r"^(?P<pid>\d+) +(?P<begun>.*) <unfinished \.\.\.>$")
_ENDED = re.compile(r"^(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")
_HEX = re.compile(r"\\x([0-9a-f]{2})")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"^\d+<([^>]*)>")
_LONGEST = 4_000_000


class Write(NamedTuple):
    """Bytes at an offset."""

    path: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A new size."""

    path: str
    size: int


class Create(NamedTuple):
    """A new, empty file."""

    path: str


class MakeFolder(NamedTuple):
    """A new folder."""

    path: str


class Rename(NamedTuple):
    """A new name."""

    path: str
    to: str


class Unlink(NamedTuple):
    """No name any more."""

    path: str


class Sync(NamedTuple):
    """`fsync` or `fdatasync`, of a file or of a folder."""

    path: str


class Mark(NamedTuple):
    """What the program said of itself at this moment."""

    said: list[object]


Op = Write | Truncate | Create | MakeFolder | Rename | Unlink | Sync | Mark


class Marks:
    """The program's side: says things in between.

    Args:
        folder: That is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder.with_name(MARKS).open("ab", buffering=0)

    def say(self, *words: object) -> None:
        """Mark this moment."""
        self._file.write(msgspec.json.encode(words) + b"\n")


def record(command: Sequence[str], folder: Path) -> list[Op]:
    """Run a program, and give everything that it did below `folder`, in order.

    Raises:
        RuntimeError: It failed; with its last words.
    """
    trace = folder.with_name("trace")
    options = ["-f", "-y", "-xx", "-s", str(_LONGEST), "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(trace)]
    done = subprocess.run(["strace", *options, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the recorded program failed:\n{done.stderr[-3000:]}")
    ops = list(_Reader(folder).ops(_joined(trace)))
    trace.unlink()
    return ops


def _joined(trace: Path) -> Iterator[str]:
    """Lines, with calls that strace had to write in two pieces put together."""
    begun: dict[str, str] = {}
    with trace.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            if half := _BEGUN.match(line):
                begun[half["pid"]] = half["begun"]
            elif half := _ENDED.match(line):
                yield f"{half['pid']} {begun.pop(half['pid'])}{half['rest']}"
            else:
                yield line.rstrip("\n")


class _Reader:
    """Makes operations of lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._marks = str(folder.with_name(MARKS))
        self._sizes: dict[str, int] = {}

    def ops(self, lines: Iterator[str]) -> Iterator[Op]:
        for line in lines:
            found = _LINE.match(line)
            if found is None or int(found["result"]) < 0:
                continue
            op = self._op(found["call"], found["arguments"], int(found["result"]))
            if op is not None:
                yield op

    def _op(self, call: str, arguments: str, result: int) -> Op | None:
        strings = [_bytes(one) for one in _STRING.findall(arguments)]
        if call == "openat":
            return self._open(strings[0].decode(), arguments)
        if call.startswith("rename"):
            return self._renamed(*(one.decode() for one in strings[:2]))
        if call.startswith(("unlink", "mkdir")):
            path = strings[0].decode()
            return self._named(call, path) if self._is_ours(path) else None
        descriptor = _FD.match(arguments)
        path = _bytes(descriptor[1]).decode() if descriptor else ""
        if path == self._marks:
            return Mark(msgspec.json.decode(strings[0]))
        return self._changed(call, path, arguments, strings, result) if self._is_ours(path) else None

    def _is_ours(self, path: str) -> bool:
        return path == self._folder or path.startswith(self._folder + "/")

    def _open(self, path: str, arguments: str) -> Op | None:
        flags = arguments.rpartition('"')[2]
        if not self._is_ours(path) or not ("O_CREAT" in flags or "O_TRUNC" in flags):
            return None
        known = path in self._sizes
        self._sizes.setdefault(path, 0)
        if not known:
            return Create(path) if "O_CREAT" in flags else None
        if "O_TRUNC" in flags:
            self._sizes[path] = 0
            return Truncate(path, 0)
        return None

    def _renamed(self, path: str, to: str) -> Op | None:
        if not self._is_ours(path):
            return None
        if path in self._sizes:
            self._sizes[to] = self._sizes.pop(path)
        return Rename(path, to)

    def _named(self, call: str, path: str) -> Op:
        if call.startswith("mkdir"):
            return MakeFolder(path)
        self._sizes.pop(path, None)
        return Unlink(path)

    def _changed(self, call: str, path: str, arguments: str, strings: list[bytes], result: int) -> Op | None:
        if call in {"fsync", "fdatasync"}:
            return Sync(path)
        if call == "ftruncate":
            size = int(arguments.rpartition(", ")[2])
            self._sizes[path] = size
            return Truncate(path, size)
        data = strings[0][:result]
        offset = int(arguments.rpartition(", ")[2]) if call == "pwrite64" else self._sizes[path]
        self._sizes[path] = max(self._sizes.get(path, 0), offset + len(data))
        return Write(path, offset, data)


def _bytes(text: str) -> bytes:
    if "\\" not in text:
        return text.encode()
    return bytes.fromhex(text.replace("\\x", ""))
