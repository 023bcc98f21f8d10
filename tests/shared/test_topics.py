"""Topics are spelled in one place, and what a broker delivers by mistake is recognised."""

import pytest

from shared import topics
from shared.topics import Address, NotOurs


@pytest.mark.parametrize(
    ("topic", "address"),
    [
        (topics.status("greenhouse", "pi-roof"), Address("greenhouse", "pi-roof", "status")),
        (topics.batch("greenhouse", "pi-roof"), Address("greenhouse", "pi-roof", "batch")),
        (topics.ack("greenhouse", "pi-roof"), Address("greenhouse", "pi-roof", "ack")),
        (topics.desired("greenhouse", "pi-roof"), Address("greenhouse", "pi-roof", "desired")),
        (topics.snapshot("g1", "pi", "cam0", 17), Address("g1", "pi", "snapshot", "cam0", 17)),
    ],
)
def test_a_topic_that_was_spelled_reads_back(topic: str, address: Address) -> None:
    assert topics.parse(topic) == address


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "big",
        "vigie",
        "vigie/v1",
        "vigie/v2/greenhouse/pi/batch",
        "vigie/v1/greenhouse/pi",
        "vigie/v1/greenhouse/pi/batch/more",
        "vigie/v1/Greenhouse/pi/batch",
        "vigie/v1/greenhouse/p/batch",
        "vigie/v1/greenhouse/-pi/batch",
        "vigie/v1/greenhouse/<script>/batch",
        f"vigie/v1/greenhouse/{'x' * 33}/batch",
        "vigie/v1/greenhouse/pi/other",
        "vigie/v1/greenhouse/pi/snapshot",
        "vigie/v1/greenhouse/pi/snapshot/cam0",
        "vigie/v1/greenhouse/pi/snapshot/cam0/0",
        "vigie/v1/greenhouse/pi/snapshot/cam0/-1",
        "vigie/v1/greenhouse/pi/snapshot/cam0/../17",
        "vigie/v1/greenhouse/pi/snapshot/CAM/17",
        "vigie/v1/greenhouse/pi/batch\n",
        "vigie/v1/greenhouse/pi/snapshot/cam0/\u0661\u0667",
    ],
)
def test_what_is_not_ours_is_refused(topic: str) -> None:
    with pytest.raises(NotOurs, match="is no topic of Vigie"):
        topics.parse(topic)


def test_the_collector_subscribes_to_every_device() -> None:
    assert topics.every("batch") == "vigie/v1/+/+/batch"
    assert topics.every("snapshot") == "vigie/v1/+/+/snapshot/+/+"
    assert topics.shared_subscription("ingest", topics.every("batch")) == "$share/ingest/vigie/v1/+/+/batch"
