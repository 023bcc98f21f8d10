"""Real brokers for tests: `broker` runs a test over each of them.

A broker keeps its port over `stop`, `kill` and `start`. Without mosquitto its tests are skipped, unless the
environment's VIGIE_REQUIRE is `all`: then they fail.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.mqtt import BrokerSettings

_AMQTT = """
import asyncio, json, logging, sys
from amqtt.broker import Broker
logging.disable(logging.CRITICAL)
async def run():
    await Broker(json.loads(sys.argv[1])).start()
    await asyncio.Event().wait()
asyncio.run(run())
"""


class Broker:
    """A broker's process.

    Args:
        folder: For its files.
        port: Where it listens, on loopback.
        command: Makes its command line from itself.
    """

    def __init__(self, name: str, folder: Path, port: int, command: "Callable[[Broker], list[str]]") -> None:
        self.name = name
        self.folder = folder
        self.port = port
        self.users: dict[str, str] = {}
        self.tls: Path | None = None
        self.client_certificates = False
        self.extra: list[str] = []
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://127.0.0.1:{self.port}"

    def settings(self, **changes: object) -> BrokerSettings:
        """Settings that reach it, and come back fast."""
        return BrokerSettings(**{"url": self.url, "retry_s_max": 0.5, **changes})  # type: ignore[arg-type]

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command(self), stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.kill()
        pytest.fail(f"{self.name} did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to say anything."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop its clock: connections stay open and silent. `kill` ends that too."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _mosquitto_command(broker: Broker) -> list[str]:
    lines = [
        f"listener {broker.port} 127.0.0.1",
        f"allow_anonymous {'false' if broker.users else 'true'}",
        *broker.extra,
    ]
    if broker.users:
        passwords = broker.folder / "passwords"
        passwords.write_text("".join(f"{user}:{password}\n" for user, password in broker.users.items()))
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
        lines.append(f"password_file {passwords}")
    if broker.tls:
        lines += [f"certfile {broker.tls}.pem", f"keyfile {broker.tls}.key"]
        if broker.client_certificates:
            lines += [f"cafile {broker.tls.parent / 'ca.pem'}", "require_certificate true"]
    if os.geteuid() == 0:
        lines.append("user root")  # else it changes to a user that cannot read the test's folder
    configuration = broker.folder / "mosquitto.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return ["mosquitto", "-c", str(configuration)]


def _amqtt_command(broker: Broker) -> list[str]:
    plugins: dict[str, object] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    if broker.users:
        from pwdlib import PasswordHash  # noqa: PLC0415  # comes with amqtt

        passwords = broker.folder / "passwords"
        secret = PasswordHash.recommended().hash
        passwords.write_text("".join(f"{user}:{secret(password)}\n" for user, password in broker.users.items()))
        plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)}}
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{broker.port}"}}
    return [sys.executable, "-W", "ignore", "-c", _AMQTT, json.dumps({"listeners": listeners, "plugins": plugins})]


def _made(name: str, folder: Path, command: Callable[[Broker], list[str]]) -> Iterator[Broker]:
    broker = Broker(name, folder, free_port(), command)
    yield broker
    broker.kill()


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A mosquitto, not started yet."""
    if shutil.which("mosquitto") is None:
        missing("mosquitto", "apt-get install mosquitto")
    yield from _made("mosquitto", tmp_path_factory.mktemp("mosquitto"), _mosquitto_command)


@pytest.fixture
def amqtt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """An amqtt, not started yet."""
    yield from _made("amqtt", tmp_path_factory.mktemp("amqtt"), _amqtt_command)


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn, not started yet."""
    made: Broker = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca, server, expired, elsewhere and client, each as .pem with .key; and another CA, stranger."""
    if shutil.which("openssl") is None:
        missing("openssl", "apt-get install openssl")
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "stranger"):
        _openssl(
            folder,
            f"req -x509 {_NEW_KEY} -subj /CN={authority} -keyout {authority}.key -out {authority}.pem -days 9"
            " -addext keyUsage=critical,keyCertSign",
        )
    for name, subject, days in (
        ("server", "IP:127.0.0.1,DNS:localhost", 9),
        ("expired", "IP:127.0.0.1", -1),
        ("elsewhere", "IP:192.0.2.1", 9),
        ("client", "DNS:client", 9),
    ):
        (folder / "extensions").write_text(f"subjectAltName={subject}\nauthorityKeyIdentifier=keyid\n")
        _openssl(folder, f"req -new {_NEW_KEY} -subj /CN={name} -keyout {name}.key -out request.pem")
        _openssl(
            folder,
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions"
            f" -days {days} -out {name}.pem",
        )
    return folder


_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)


def missing(what: str, how: str) -> None:
    """Skip the test for something that is not installed, or fail where everything has to be there."""
    if os.environ.get("VIGIE_REQUIRE") == "all":
        pytest.fail(f"{what} is missing: {how}")
    pytest.skip(f"{what} is missing: {how}")


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:g} s in vain")
        time.sleep(0.005)
