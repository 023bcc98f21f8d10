"""The promise names the test that shows each claim: no name may be one that does not exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISE = (ROOT / "docs/delivery.md").read_text()


def test_every_test_that_the_promise_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PROMISE))
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 20
    assert named <= written, f"named, but nowhere to be found: {sorted(named - written)}"


def test_every_cost_names_the_test_that_shows_it() -> None:
    table = PROMISE.partition("## What things can cost")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "shown by" not in line]
    assert len(rows) > 10
    for row in rows:
        assert "`test_" in row.rsplit("|", 2)[1], row
