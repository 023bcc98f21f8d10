"""A disk as a power cut may leave it.

What was synced is there. What was not may be there or not, sector by sector, in any order: lost, torn within a sector,
zeroed, garbage, or whole while what was written before it is missing. A name that was made, changed or removed since
its folder was last synced may still be as before; what a journal of the file system promises is kept to: such changes
happen in their order. A file's own sync does not make its name sure.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from tests.faults.powercuts.recording import Create, MakeFolder, Mark, Op, Rename, Sync, Truncate, Unlink, Write

SECTOR = 512
_WRITEBACK = 64
"""Changes of a file after which the kernel has written the older half of them anyway."""

_SHARED_MEMORY = "-shm"


class File:
    """A file: what is surely on the disk, and what was changed since."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[Write | Truncate] = []

    def change(self, op: Write | Truncate) -> None:
        """Change it, in the kernel's memory."""
        self.pending.append(op)
        if len(self.pending) > _WRITEBACK and not op.path.endswith(("-wal", ".db", "-journal")):
            for old in self.pending[: _WRITEBACK // 2]:
                apply(self.durable, old)
            del self.pending[: _WRITEBACK // 2]

    def sync(self) -> None:
        """Everything is on the disk."""
        for op in self.pending:
            apply(self.durable, op)
        self.pending.clear()

    def after_cut(self, chance: random.Random) -> bytes:
        """Its content after a power cut at this moment."""
        how = chance.choice((_none, _all, _in_order, _any_sectors, _any_sectors, _rotten_sectors))
        return bytes(how(self.durable, self.pending, chance)) if self.pending else bytes(self.durable)


class Disk:
    """The folder as the program sees it, and as it would be found."""

    def __init__(self) -> None:
        self._names: dict[str, File | None] = {}
        self._durable_names: dict[str, File | None] = {}
        self._pending_names: list[Create | MakeFolder | Rename | Unlink] = []
        self._made: dict[int, File | None] = {}

    @property
    def unsure(self) -> int:
        """How much is not on the disk yet."""
        return len(self._pending_names) + sum(len(one.pending) for one in set(self._names.values()) if one)

    def do(self, op: Op) -> None:
        """Do what the program did."""
        if isinstance(op, Mark):
            return
        if isinstance(op, Write | Truncate):
            if (file := self._names.get(op.path)) is not None:
                file.change(op)
        elif isinstance(op, Sync):
            self._sync(op.path)
        else:
            self._pending_names.append(op)
            if isinstance(op, Create | MakeFolder):
                self._made[id(op)] = File() if isinstance(op, Create) else None
            self._apply_name(self._names, op)

    def _sync(self, path: str) -> None:
        if (file := self._names.get(path)) is not None:
            file.sync()
            return
        rest = []
        for op in self._pending_names:
            if str(Path(op.path).parent) == path:
                self._apply_name(self._durable_names, op)
            else:
                rest.append(op)
        self._pending_names = rest

    def _apply_name(self, names: dict[str, File | None], op: Create | MakeFolder | Rename | Unlink) -> None:
        if isinstance(op, Create | MakeFolder):
            names[op.path] = self._made[id(op)]
        elif isinstance(op, Rename):
            if op.path in names:
                names[op.to] = names.pop(op.path)
        else:
            names.pop(op.path, None)

    def cut(self, chance: random.Random, folder: str, to: Path) -> None:
        """Write into `to` what may be found of `folder` after a power cut at this moment."""
        names = dict(self._durable_names)
        for op in self._pending_names[: chance.randint(0, len(self._pending_names))]:
            self._apply_name(names, op)
        for name, file in names.items():
            path = to / name[len(folder) + 1 :]
            if file is None:
                path.mkdir(parents=True, exist_ok=True)
            elif name.endswith(_SHARED_MEMORY):
                _leave_shared_memory(path, chance)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.after_cut(chance))


def _leave_shared_memory(path: Path, chance: random.Random) -> None:
    """It is never synced: mostly gone, sometimes anything."""
    if chance.random() < 0.5:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice((0, 4096, 32_768))))


def apply(content: bytearray, op: Write | Truncate) -> None:
    """Change a content."""
    end = op.size if isinstance(op, Truncate) else op.offset + len(op.data)
    if end > len(content):
        content.extend(bytes(end - len(content)))
    if isinstance(op, Truncate):
        del content[end:]
    else:
        content[op.offset : end] = op.data


def _none(durable: bytearray, _pending: Sequence[Write | Truncate], _chance: random.Random) -> bytearray:
    return durable


def _all(durable: bytearray, pending: Sequence[Write | Truncate], _chance: random.Random) -> bytearray:
    content = bytearray(durable)
    for op in pending:
        apply(content, op)
    return content


def _in_order(durable: bytearray, pending: Sequence[Write | Truncate], chance: random.Random) -> bytearray:
    """The first few, and of the next one a beginning."""
    done = chance.randint(0, len(pending) - 1)
    content = _all(durable, pending[:done], chance)
    torn = pending[done]
    if isinstance(torn, Write):
        apply(content, Write(torn.path, torn.offset, torn.data[: chance.randint(0, len(torn.data))]))
    return content


def _any_sectors(durable: bytearray, pending: Sequence[Write | Truncate], chance: random.Random) -> bytearray:
    """Each sector as it was at some moment, each at its own; and the size as it was at some moment."""
    content, _ = _mixed(durable, pending, chance)
    return content


def _rotten_sectors(durable: bytearray, pending: Sequence[Write | Truncate], chance: random.Random) -> bytearray:
    """As `_any_sectors`, and some of those that were being written are zeroed, garbage, or torn inside."""
    content, touched = _mixed(durable, pending, chance)
    for sector in touched:
        begin, end = sector * SECTOR, min(len(content), (sector + 1) * SECTOR)
        if begin >= end or chance.random() < 0.6:
            continue
        how = chance.randrange(3)
        at = chance.randint(begin, end)
        if how == 0:
            content[begin:end] = bytes(end - begin)
        elif how == 1:
            content[at:end] = chance.randbytes(end - at)
        else:
            before = bytes(durable[at:end]).ljust(end - at, b"\0")
            content[at:end] = before
    return content


def _mixed(
    durable: bytearray, pending: Sequence[Write | Truncate], chance: random.Random
) -> tuple[bytearray, list[int]]:
    content, sizes = bytearray(durable), [len(durable)]
    versions: dict[int, list[bytes]] = {}
    for op in pending:
        if isinstance(op, Write) and op.data:
            sectors = range(op.offset // SECTOR, (op.offset + len(op.data) - 1) // SECTOR + 1)
            for sector in sectors:
                if sector not in versions:
                    versions[sector] = [bytes(content[sector * SECTOR : (sector + 1) * SECTOR])]
            apply(content, op)
            for sector in sectors:
                versions[sector].append(bytes(content[sector * SECTOR : (sector + 1) * SECTOR]))
        else:
            apply(content, op)
        sizes.append(len(content))
    size = chance.choice(sizes)
    content.extend(bytes(max(0, max(sizes) - len(content))))
    for sector, seen in versions.items():
        version = chance.choice(seen).ljust(SECTOR, b"\0")
        room = min(SECTOR, len(content) - sector * SECTOR)
        if room > 0:
            content[sector * SECTOR : sector * SECTOR + room] = version[:room]
    del content[size:]
    return content, list(versions)
