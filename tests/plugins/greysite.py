"""A stream whose source lists every frame that it gives, and the oracle that compares the store with that list."""

from pathlib import Path
from typing import Any

import greymodel
import listed
from smallsite import Site


def streams(folder: Path, **options: object) -> str:
    """A stream whose source lists every frame that it gives."""
    if not (folder / "grey.onnx").exists():
        greymodel.save(folder / "grey.onnx")
    told = "".join(f", {key}: {str(value).lower()}" for key, value in options.items())
    source = f"{{'listed:Listed': given.txt, progress: pi-roof-state/progress{told}}}"
    return f"  - {{name: cam0, source: {source}, model: grey.onnx, snapshot_s: 1}}\n"


def check_against_the_list(site: Site, *, lost_allowed: int = 0) -> list[dict[str, Any]]:
    """Every frame that the source gave is in the store once, as itself; or its number is beyond what was sealed."""
    given = listed.given(site.folder / "given.txt")
    ledger = site.ledger()
    rows = site.predictions()
    stored = [(row["nonce"], row["frame"]) for row in rows]
    assert len(set(stored)) == len(stored), "nothing twice"
    assert set(stored) <= set(given), "nothing made up"
    away = set(given) - set(stored)
    tails = {(epoch["nonce"], n) for epoch in ledger["epochs"] for n in range(epoch["last"] + 1, epoch["last"] + 1000)}
    # Read ahead when the agent was asked to stop: booked as skipped, not lost.
    assert len(away - tails) == ledger["outcomes"]["skipped"], "else only what was not sealed is lost"
    assert len(away & tails) <= lost_allowed
    for row, (_, frame) in zip(rows, stored, strict=True):
        assert row["outcome"] == "ok"
        (detection,) = row["detections"]
        assert greymodel.grey_of(detection["box"], listed.SIDE) == listed.grey(frame), "what was seen is this frame"
        assert (detection["class"], detection["score"]) == ("grey", 0.9)
    assert ledger["missing"] == 0
    assert ledger["captured"] == sum(ledger["outcomes"].values())
    assert ledger["sealed"] == sum(ledger["fates"].values())
    return rows
