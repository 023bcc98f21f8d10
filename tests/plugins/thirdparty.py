"""Where the third-party models and pictures are that Vigie is compared on."""

import os
from pathlib import Path

import pytest

BESIDE = Path(__file__).parents[3] / "shared" / "assets"


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of models, pictures and expected detections: beside the checkout, or where VIGIE_ASSETS says.

    They are other people's and not part of this repository. Without them a test is skipped, or fails when
    VIGIE_REQUIRE=all.
    """
    for place in (BESIDE, Path(os.environ.get("VIGIE_ASSETS", BESIDE))):
        if (place / "INDEX.md").is_file():
            return place
    reason = f"no models to compare with: put them at {BESIDE}, or set VIGIE_ASSETS to their folder"
    if os.environ.get("VIGIE_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)
