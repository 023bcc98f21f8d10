"""`vigie-agent maintenance 2h`: somebody works at the camera, and nobody is to be alarmed.

The command leaves a small file in the state folder, which the running agent reads. Its end stands there in boot time,
which no clock jump moves; after a reboot it is known by wall time, if that was known to whoever wrote the file and is
known again, and else maintenance is over. Frames go on being recorded.
"""

import argparse
import datetime as dt
import logging
import sys
from pathlib import Path

import msgspec

from agent import config, timetable
from agent.clock import Clock
from shared import commands
from shared.configfile import ConfigError

log = logging.getLogger(__name__)

NAME = "maintenance"
LONGEST_S = 24 * 3600.0
_NS = 1_000_000_000


class _Kept(msgspec.Struct, frozen=True):
    """The file: when maintenance ends."""

    boot_id: str
    until_boot_ns: int
    until_wall_ns: int | None = None


class Maintenance:
    """The file, and what it says now.

    Args:
        path: In the state folder.
        clock: The agent's.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._boot_id = clock.boot_id()

    def begin(self, duration_s: float) -> None:
        """Begin, or change how long it lasts from now on.

        Raises:
            OSError: It cannot be written down.
        """
        self._write(_Kept(self._boot_id, self._clock.boot_ns() + round(duration_s * _NS)))

    def end(self) -> None:
        """End now.

        Raises:
            OSError: It cannot be written down.
        """
        self._path.unlink(missing_ok=True)

    def left_s(self) -> float:
        """Seconds of maintenance that are left; 0 when there is none."""
        kept = self._read()
        if kept is None:
            return 0.0
        known = self._clock.offset()
        if kept.boot_id == self._boot_id:
            left_ns = kept.until_boot_ns - self._clock.boot_ns()
            if known and kept.until_wall_ns is None and left_ns > 0:
                self._note_wall(kept)
        elif known and kept.until_wall_ns is not None:
            left_ns = kept.until_wall_ns - self._clock.boot_ns() - known[0]
        else:
            left_ns = 0
        return min(max(0, left_ns) / _NS, LONGEST_S)

    def _note_wall(self, kept: _Kept) -> None:
        """The time became known: now the end will be, too, after a reboot."""
        try:
            self._write(kept)
        except OSError as error:
            log.debug("%s cannot be written: %s", self._path, error)

    def _write(self, kept: _Kept) -> None:
        known = self._clock.offset()
        wall_ns = kept.until_boot_ns + known[0] if known else None
        new = self._path.with_name(self._path.name + ".new")
        new.write_bytes(msgspec.json.encode(msgspec.structs.replace(kept, until_wall_ns=wall_ns)))
        new.chmod(0o644)  # whoever called the command, the agent is to read it
        new.replace(self._path)

    def _read(self) -> _Kept | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None


def add_parser(adding: "commands.Commands[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = adding.add_parser("maintenance", help="raise no alarm for a while: `2h`, `off`, or nothing to see")
    commands.add_config(command)
    command.add_argument(
        "duration", nargs="?", metavar="DURATION", help="such as 30m or 2h, at most 1 d; `off` ends it"
    )
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    settings = config.load(args.config)
    folder = args.config.parent / Path(settings.state_dir).expanduser()
    kept = Maintenance(folder / NAME, Clock())
    try:
        if args.duration == "off":
            kept.end()
        elif args.duration is not None:
            duration_s = _duration_s(args.duration)
            folder.mkdir(parents=True, exist_ok=True)
            kept.begin(duration_s)
    except OSError as error:
        sys.stderr.write(f"vigie-agent: {folder}: {error.strerror}; call it as the agent's user: sudo -u vigie …\n")
        return 1
    sys.stdout.write(f"{words(kept.left_s())}\n")
    return 0


def _duration_s(text: str) -> float:
    try:
        return timetable.period_s(text)
    except ValueError as error:
        raise ConfigError(f"DURATION {error}, or be `off`") from error


def words(left_s: float) -> str:
    """What is the case, for people; times are the device's own."""
    if not left_s:
        return "no maintenance"
    until = dt.datetime.now().astimezone() + dt.timedelta(seconds=left_s)
    return f"maintenance for {dt.timedelta(seconds=round(left_s))} more, until {until:%Y-%m-%d %H:%M}"
