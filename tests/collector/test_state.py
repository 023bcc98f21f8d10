"""Quarantine and pictures."""

from pathlib import Path

import pytest

from collector.state.pictures import NotAPicture, Pictures, check_jpeg
from collector.state.quarantine import Bad, Quarantine
from collector.stores import Unavailable
from collector.stores.sqlite import SQLite
from tests.collector.field import jpeg
from tests.collector.making import SECOND, T0, decoded, detail, received

TOPIC = "vigie/v1/greenhouse/pi-roof/batch"


def bad(payload: bytes = b"x", *, with_header: bool = False) -> Bad:
    header = decoded(payload).header if with_header else None
    return Bad(TOPIC, payload, "bad_batch", "because", T0, header)


def test_the_same_message_is_kept_once(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "state.db") as held:
        assert held.put([bad(), bad(), bad(b"y")]) == 2
        assert held.put([bad()]) == 0
        assert len(held.newest()) == 2


def test_what_is_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    payload = detail(1, 1)
    with Quarantine(tmp_path / "state.db") as held:
        held.put([bad(payload, with_header=True)])
    with Quarantine(tmp_path / "state.db") as held:
        (one,) = held.newest()
        whole = held.get(one.id)
        assert whole is not None
        assert (whole.payload, whole.reason, whole.batch, whole.lane) == (payload, "because", 1, "detail")
        (batch,) = held.of_device("greenhouse", "pi-roof")
        assert (batch.epoch, batch.batch, batch.streams["cam0"].last) == (1, 1, 5)
        assert held.of_device("greenhouse", "pi-door") == []
        held.remove(one.id)
        assert held.newest() == []
        assert held.get(one.id) is None


@pytest.mark.parametrize("name", ["what?mode=memory", "50%20off", "a#b", "a b"])
def test_the_database_is_where_its_path_says_whatever_characters_it_has(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with Quarantine(folder / "state.db") as held, SQLite(folder / "vigie.db") as store:
        held.put([bad()])
        store.write([received(detail(1, 1))])
        assert {path.name for path in folder.iterdir() if path.suffix == ".db"} == {"state.db", "vigie.db"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_beyond_its_limit_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "state.db", mb_max=1) as held:
        for number in range(5):
            held.put([bad(bytes([number]) * 300_000)])
        kept = [held.get(one.id) for one in held.newest()]
        assert [one.payload[0] for one in kept if one and one.payload] == [4, 3, 2]
        assert held.dropped == 2


def test_a_quarantine_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is not open"):
        Quarantine(tmp_path / "state.db").put([bad()])
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="see that its disk has space"):
        Quarantine(tmp_path / "file" / "state.db").open()


def test_nothing_is_kept_in_a_file_that_is_no_longer_there(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with Quarantine(path) as held:
        held.put([bad()])
        path.unlink()
        with pytest.raises(Unavailable, match=r"state\.db was deleted or replaced"):
            held.put([bad(b"y")])
        assert held.put([bad(b"z")]) == 1, "the next try opens the path anew"
    with Quarantine(path) as held:
        assert len(held.newest()) == 1
        path.unlink()
        held.close()
        with pytest.raises(Unavailable, match="is not open"):
            held.put([bad()])


def test_the_newest_pictures_are_kept(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path, per_stream=3)
    assert pictures.latest("greenhouse", "pi-roof", "cam0") is None
    for number in (1, 4, 2, 3, 5):
        assert pictures.add("greenhouse", "pi-roof", "cam0", number, jpeg())
    assert pictures.times("greenhouse", "pi-roof", "cam0") == [3, 4, 5]
    assert pictures.latest("greenhouse", "pi-roof", "cam0") == 5
    assert pictures.read("greenhouse", "pi-roof", "cam0", 5) == jpeg()
    assert pictures.read("greenhouse", "pi-roof", "cam0", 1) is None
    assert Pictures(tmp_path).latest("greenhouse", "pi-roof", "cam0") == 5, "found again after a restart"
    assert [path.name for path in tmp_path.rglob("*.tmp")] == []


def test_a_picture_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path)
    assert pictures.add("greenhouse", "pi-roof", "cam0", 1, jpeg())
    assert not pictures.add("greenhouse", "pi-roof", "cam0", 1, jpeg(32, 32))
    assert pictures.read("greenhouse", "pi-roof", "cam0", 1) == jpeg()


def test_old_pictures_go(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path, days=1)
    pictures.add("greenhouse", "pi-roof", "cam0", T0, jpeg())
    pictures.add("greenhouse", "pi-roof", "cam0", T0 + SECOND, jpeg())
    assert pictures.expire(T0 + 86_400 * SECOND + 1) == 1
    assert pictures.times("greenhouse", "pi-roof", "cam0") == [T0 + SECOND]


@pytest.mark.parametrize("name", ["..", "../up", "Cam", "", "a/b"])
def test_a_name_that_is_no_slug_is_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="must be slugs"):
        Pictures(tmp_path).read("greenhouse", "pi-roof", name, 1)


def test_a_jpeg_tells_its_size() -> None:
    assert check_jpeg(jpeg(640, 480)) == (640, 480)
    with pytest.raises(NotAPicture):
        check_jpeg(b"\x89PNG" + bytes(200))
