"""The docs cannot fall behind: every command, key, field and event stands in them, and every link leads somewhere."""

import argparse
import re
import subprocess
from pathlib import Path

import pytest

import agent.cli
import collector.cli
from shared.histogram import BINS
from shared.schema import EVENTS, TIMINGS, VITALS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def commands(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    """Every command of a program with its parser, nested ones spelled out."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                found.append((name, sub))
                found += [(f"{name} {inner}", deeper) for inner, deeper in commands(sub)]
    return found


@pytest.mark.parametrize(
    ("program", "parser", "pages"),
    [
        ("vigie-agent", agent.cli._parser(), ("agent.md", "models.md", "performance.md")),
        ("vigie-collector", collector.cli._parser(), ("collector.md",)),
    ],
)
def test_every_command_and_option_is_documented(
    program: str, parser: argparse.ArgumentParser, pages: tuple[str, ...]
) -> None:
    text = "\n".join((ROOT / "docs" / page).read_text() for page in pages)
    for name, sub in commands(parser):
        assert f"{program} {name}" in text, f"`{program} {name}` is in none of docs/{', docs/'.join(pages)}"
        for action in sub._actions:
            long = [option for option in action.option_strings if option.startswith("--")]
            if long and long[0] != "--help" and action.help != argparse.SUPPRESS:
                assert long[0] in text, f"`{program} {name} {long[0]}` is not documented"


@pytest.mark.parametrize("field", [*TIMINGS, *VITALS], ids=lambda field: field.name)
def test_every_field_is_documented(field) -> None:
    assert f"| `{field.name}` | {field.unit} | {field.meaning} |" in (ROOT / "docs/fields.md").read_text()


@pytest.mark.parametrize("name", BINS)
def test_every_histogram_is_documented(name: str) -> None:
    bins = BINS[name]
    row = f"| `{name}` | {bins.unit} | {bins.count} | {bins.edges[0]} | {bins.edges[-1]} | {bins.meaning} |"
    assert row in (ROOT / "docs/fields.md").read_text()


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_documented(name: str) -> None:
    assert f"| `{name}` | {EVENTS[name]} |" in (ROOT / "docs/fields.md").read_text()


def test_every_event_that_the_agent_tells_is_known() -> None:
    told = set()
    for path in (ROOT / "agent").rglob("*.py"):
        told |= set(re.findall(r"(?:event|put_event|on_event)\(\s*\"([a-z_]+)\"", path.read_text()))
    assert told <= set(EVENTS), "an event that the docs do not explain"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("help", "setup", "demo", "test", "check", "bench", "wheel"):
        assert f"make {target}" in listed
