"""Two devices with one name, such as two cards made from one image: seen by starts that take turns.

An agent draws a nonce at each start and tells it at each connection. A start that is heard again after a later one
means that both run.
"""

from collections import deque

REMEMBERED = 8
"""Starts of a device that are remembered, the newest."""


class Twins:
    """The starts that each device told of while we listened."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str], deque[str]] = {}
        self._told: set[tuple[str, str]] = set()

    def born(self, site: str, device: str, nonce: str) -> bool:
        """Take note of a live birth; True when it first shows that there are two, once until they are one again."""
        key = (site, device)
        heard = self._heard.setdefault(key, deque(maxlen=REMEMBERED))
        if heard and heard[-1] == nonce:
            return False
        twice = nonce in heard
        if twice:
            heard.remove(nonce)
        else:
            self._told.discard(key)  # a start that is new: somebody did something about it
        heard.append(nonce)
        news = twice and key not in self._told
        if news:
            self._told.add(key)
        return news
