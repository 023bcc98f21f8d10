"""A small site for a journey: see `smallsite`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smallsite import Site


@pytest.fixture
def site_with(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Site]]:
    """Make a site on a broker; its processes end with the test, and a failing test shows what they said."""
    made: list[Site] = []

    def make(broker_url: str) -> Site:
        made.append(Site(tmp_path, broker_url))
        return made[-1]

    yield make
    for site in made:
        site.close()
        request.node.add_report_section("call", "processes", site.logs())
