"""systemd is told by datagrams, to a path or to a name in the abstract namespace."""

import os
from contextlib import closing
from pathlib import Path

import pytest
from notified import Notified

from shared.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_told_arrives(tmp_path: Path, abstract: bool) -> None:  # noqa: FBT001  # a case
    with (
        Notified(tmp_path, abstract=abstract, watchdog_s=7.5) as systemd,
        closing(Notifier(systemd.variables)) as notifier,
    ):
        assert notifier.watchdog_s == 7.5
        notifier.ready()
        for text in ("at work", "at work", "two\nlines"):
            notifier.status(text)
        notifier.alive()
        notifier.extend(2.5)
        notifier.stopping()
        told = [
            "READY=1",
            "STATUS=at work",
            "STATUS=two lines",
            "WATCHDOG=1",
            "EXTEND_TIMEOUT_USEC=2500000",
            "STOPPING=1",
        ]
        assert systemd.hear() == told


@pytest.mark.parametrize(
    "variables", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere"}, {"NOTIFY_SOCKET": "x"}]
)
def test_without_systemd_nothing_fails(variables: dict[str, str]) -> None:
    notifier = Notifier({**variables, "WATCHDOG_USEC": "1000000"})
    notifier.ready()
    assert notifier.watchdog_s == 0.0


def test_what_is_meant_for_another_process_or_is_no_number_is_not_heeded(tmp_path: Path) -> None:
    with Notified(tmp_path) as systemd:
        for told in ({"WATCHDOG_PID": str(os.getpid() + 1)}, {"WATCHDOG_USEC": "soon"}):
            with closing(Notifier({**systemd.variables, **told})) as notifier:
                assert notifier.watchdog_s == 0.0


def test_a_systemd_that_does_not_listen_blocks_nobody(tmp_path: Path) -> None:
    with Notified(tmp_path) as systemd, closing(Notifier(systemd.variables)) as notifier:
        for _ in range(10_000):
            notifier.alive()
        assert 0 < len(systemd.hear()) < 10_000
