"""A stream: one camera with one model."""

from dataclasses import dataclass

from agent import sources
from agent.config import StreamSettings
from agent.model import Model
from agent.turns import Turns
from shared.records import Maker


@dataclass(frozen=True)
class Stream:
    """One camera with one model, not yet at work.

    Attributes:
        settings: Its part of the configuration.
        source: Where its frames come from.
        model: Perhaps shared with other streams.
        maker: What its records are made with.
        turns: Of the model.
        hands: Frames of this stream that are looked at at the same time.
        stale: What changed since its model was tuned; nothing when nothing did.
        load_s: How long it took to load the model and to run it once.
    """

    settings: StreamSettings
    source: sources.Resolved
    model: Model
    maker: Maker
    turns: Turns
    hands: int = 1
    stale: str = ""
    load_s: float = 0.0

    @property
    def name(self) -> str:
        """Its name."""
        return self.settings.name
