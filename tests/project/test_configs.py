"""The shipped configurations are the built-in defaults, so that they document what really holds."""

from pathlib import Path

import agent.config
import collector.config
from shared import configfile

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_the_agents_file_is_what_the_agent_prints() -> None:
    assert (CONFIGS / "agent.yaml").read_text() == agent.config.defaults()


def test_the_agents_file_equals_the_defaults() -> None:
    assert configfile.load(CONFIGS / "agent.yaml", agent.config.Settings) == agent.config.Settings()


def test_the_collectors_file_equals_the_defaults() -> None:
    assert configfile.load(CONFIGS / "collector.yaml", collector.config.Settings) == collector.config.Settings()
