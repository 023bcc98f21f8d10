"""How the device is, on boards made of files."""

import subprocess
import sys
import time

import msgspec
import pytest

from agent.clock import Clock
from agent.vitals import VitalsReader, hardware
from shared.records import Held, Vitals

HELD = Held(3, "0123456789abcdef", "detail", 7, 9)


@pytest.fixture
def board(tmp_path):
    """Writes files of a made-up board; the folder is its root."""

    def write(**files):
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    write.root = tmp_path  # type: ignore[attr-defined]  # handed out with the function
    return write


@pytest.fixture
def command(tmp_path):
    """Makes a vcgencmd that runs the given Python."""

    def make(code):
        path = tmp_path / "vcgencmd"
        path.write_text(f"#!{sys.executable}\n{code}\n")
        path.chmod(0o755)
        return str(path)

    return make


def read(board, vcgencmd="/no/such/command"):
    return VitalsReader(Clock(), board.root, root=board.root, vcgencmd=vcgencmd).read()


def test_a_board_that_says_nothing_raises_nothing(board):
    vitals = read(board)
    assert vitals.uptime_s >= 0
    assert vitals.rss_bytes is not None
    assert vitals.disk_free_bytes is not None
    for name in (
        "cpu_percent",
        "memory_percent",
        "memory_available_bytes",
        "temperature_c",
        "throttled",
        "under_voltage",
    ):
        assert getattr(vitals, name) is None


def test_this_machine_answers(tmp_path):
    reader = VitalsReader(Clock(), tmp_path)
    ends = time.process_time() + 0.1
    while time.process_time() < ends:
        pass
    vitals = reader.read()
    assert vitals.cpu_percent is not None
    assert 0 < vitals.cpu_percent <= 100
    assert vitals.memory_available_bytes is not None
    assert vitals.memory_available_bytes > 1_000_000
    assert vitals.rss_bytes is not None
    assert vitals.rss_bytes > 10_000_000
    assert isinstance(hardware(), str)


def test_processor_use_is_that_since_the_last_reading(board):
    board(proc__stat="cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n")
    reader = VitalsReader(Clock(), board.root, root=board.root)
    board(proc__stat="cpu  150 0 100 740 110 0 0 0 0 0\n")
    assert reader.read().cpu_percent == 50
    assert reader.read().cpu_percent is None  # no tick has gone by
    board(proc__stat="cpu  150 0 100 840 110 0 0 0 0 0\n")
    assert reader.read().cpu_percent == 0


def test_memory_is_what_programs_can_still_get(board):
    board(proc__meminfo="MemTotal:  4000 kB\nMemFree: 100 kB\nMemAvailable:  1000 kB\nHugePages_Total: 0\n")
    vitals = read(board)
    assert vitals.memory_percent == 75
    assert vitals.memory_available_bytes == 1000 * 1024


def test_the_processors_hottest_sensor_counts(board):
    board(
        sys__class__thermal__thermal_zone0__type="cpu-thermal",
        sys__class__thermal__thermal_zone0__temp="51234",
        sys__class__thermal__thermal_zone1__type="soc-thermal",
        sys__class__thermal__thermal_zone1__temp="49000",
        sys__class__thermal__thermal_zone2__type="battery",
        sys__class__thermal__thermal_zone2__temp="90000",
        sys__class__thermal__thermal_zone3__type="cpu-broken",
        sys__class__thermal__thermal_zone3__temp="-274000",
    )
    assert read(board).temperature_c == 51.2


def test_a_board_without_thermal_zones_has_hwmon(board):
    board(
        sys__class__hwmon__hwmon0__name="nvme",
        sys__class__hwmon__hwmon0__temp1_input="70000",
        sys__class__hwmon__hwmon1__name="coretemp",
        sys__class__hwmon__hwmon1__temp2_input="61500",
        sys__class__hwmon__hwmon1__temp3_input="not a number",
    )
    assert read(board).temperature_c == 61.5


@pytest.mark.parametrize(
    ("flags", "throttled", "under_voltage"),
    [
        ("0x0", False, False),
        ("0x50005", True, True),
        ("0x50000", False, False),  # it happened since boot, and is over
        ("0x1", False, True),
        ("0x2", True, False),
        ("0x8", True, False),
    ],
)
def test_a_raspberry_pi_tells_of_heat_and_supply(board, command, flags, throttled, under_voltage):
    vitals = read(board, command(f"print('throttled={flags}')"))
    assert (vitals.throttled, vitals.under_voltage) == (throttled, under_voltage)


@pytest.mark.parametrize(
    "code", ["raise SystemExit(1)", "print('VCHI initialization failed')", "import time; time.sleep(60)"]
)
def test_a_command_that_fails_or_hangs_leaves_the_kernels_sensor(board, command, code):
    board(sys__class__hwmon__hwmon3__name="rpi_volt", sys__class__hwmon__hwmon3__in0_lcrit_alarm="1\n")
    began = time.monotonic()
    vitals = read(board, command(code))
    assert time.monotonic() - began < 5
    assert (vitals.throttled, vitals.under_voltage) == (None, True)


def test_what_the_agent_knows_goes_with_it(board):
    vitals = VitalsReader(Clock(), board.root, root=board.root).read((3, 4096, 2.5), (1, 2), 5, (HELD,))
    assert (vitals.outbox_batches, vitals.outbox_bytes, vitals.outbox_oldest_s) == (3, 4096, 2.5)
    assert (vitals.snapshots_waiting, vitals.snapshots_dropped, vitals.reconnects) == (1, 2, 5)
    assert vitals.held == (HELD,)


def test_a_reading_is_a_record_that_can_be_sent(board):
    vitals = read(board)
    assert msgspec.json.decode(msgspec.json.encode(vitals), type=Vitals) == vitals


def test_the_state_folder_may_be_gone(board):
    assert VitalsReader(Clock(), board.root / "gone", root=board.root).read().disk_free_bytes is None


def test_the_boards_name_is_the_device_trees_or_the_firmwares(board):
    assert not hardware(board.root)
    board(sys__class__dmi__id__product_name="Standard PC\n")
    assert hardware(board.root) == "Standard PC"
    board(**{"proc__device-tree__model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    assert hardware(board.root) == "Raspberry Pi 5 Model B Rev 1.0"


def test_capture_processes_count(board):
    alone = read(board).rss_bytes
    with subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = read(board).rss_bytes
        child.communicate(b"\n")
    assert alone is not None
    assert both is not None
    assert both > alone + 2_000_000
