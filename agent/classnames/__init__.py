"""What a model calls its classes: its metadata says, else the configuration, else a well-known list of that length.

`coco80.txt` has the categories of COCO in the order of its detection task; `imagenet1k.txt` the classes of ILSVRC 2012
in the order of their WordNet numbers, each by the first word that WordNet has for it. One name a line, the class id
being the line's number from 0.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from agent.decoders import Decoder
from agent.decoders.reading import class_names, tidy_names

NAMES_BYTES_MAX = 10_000_000

KNOWN = {("detect", 80): ("COCO", "coco80.txt"), ("classify", 1000): ("ImageNet", "imagenet1k.txt")}
"""Task and number of classes: the list that models of these usually use."""

Named = tuple[tuple[str, ...], str, tuple[str, ...]]
"""Names by class id, where they come from, and sentences about what was assumed."""


def names_for(metadata: Mapping[str, str], configured: Sequence[str] | None, decoder: Decoder) -> Named:
    """The names of a model's classes.

    Args:
        metadata: Of the file.
        configured: What the configuration says.
        decoder: Of the model; says how many classes there are.

    Raises:
        ValueError: The configuration has another number of names than the model has classes.
    """
    own, count = class_names(metadata), decoder.class_count
    if own is not None:
        notes = ["the configured class names are not used: the file has its own"] if configured else []
        if count is not None and len(own) != count:
            notes.append(f"its metadata names {len(own)} classes, but its output has {count}")
            own = (*own, *numbered(count)[len(own) :])[:count]
        return own, "metadata", tuple(notes)
    if configured:
        if count is not None and len(configured) != count:
            raise ValueError(f"the configuration has {len(configured)} class names, the model {count} classes")
        return tidy_names(configured), "configuration", ()
    return _assumed(decoder)


def read_names(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line.

    Raises:
        ValueError: It can't be read as that, with file and reason.
    """
    try:
        if path.stat().st_size > NAMES_BYTES_MAX:
            raise ValueError(f"{path}: is too long for a list of class names")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text in UTF-8; write one class name a line") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{path}: is empty; write one class name a line")
    return tidy_names(lines)


def numbered(count: int) -> tuple[str, ...]:
    """`class_0`, `class_1` and so on."""
    return tuple(f"class_{index}" for index in range(count))


def _assumed(decoder: Decoder) -> Named:
    """A well-known list of the same length, or numbers; either way with a sentence."""
    count = decoder.class_count
    if count is None:
        return (), "numbers", ("nothing says what its classes are called, nor how many there are: they get numbers",)
    if (decoder.task, count) in KNOWN:
        source, file = KNOWN[decoder.task, count]
        names = tuple(resources.files(__name__).joinpath(file).read_text(encoding="utf-8").splitlines())
        return names, source, (f"nothing says what its {count} classes are called: {source}'s names are assumed",)
    return numbered(count), "numbers", (f"nothing says what its {count} classes are called: they get numbers",)
