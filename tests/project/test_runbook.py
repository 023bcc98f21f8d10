"""Whoever is called finds each event in the runbook exactly once, with what to look at and what to do."""

import re
from collections import Counter
from pathlib import Path

import pytest

from shared.schema import EVENTS

RUNBOOK = (Path(__file__).resolve().parents[2] / "docs/runbook.md").read_text()
SECTION = re.compile(r"^### `([a-z_]+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
TOLD = set(EVENTS)
"""Every event that somebody may be called for."""


def test_each_event_has_exactly_one_section_and_no_other_has_one() -> None:
    assert Counter(name for name, _ in SECTION.findall(RUNBOOK)) == Counter(TOLD)


def test_every_section_of_the_third_level_is_that_of_an_event() -> None:
    assert RUNBOOK.count("\n### ") == len(SECTION.findall(RUNBOOK))


@pytest.mark.parametrize("name", sorted(TOLD))
def test_a_section_says_what_it_means_what_to_look_at_and_what_to_do(name: str) -> None:
    text = dict(SECTION.findall(RUNBOOK))[name]
    for part in ("**Means:**", "**Look at:**", "**Do:**"):
        assert len(re.findall(rf"^{re.escape(part)} \S", text, re.MULTILINE)) == 1, f"{part} of {name}"


@pytest.mark.parametrize("name", sorted(TOLD))
def test_the_table_of_urgency_has_each_event_once(name: str) -> None:
    table = [line for line in RUNBOOK.splitlines() if line.startswith("|")]
    assert sum(line.count(f"`{name}`") for line in table) == 1
