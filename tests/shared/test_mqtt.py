"""The link comes back by itself, says what is wrong, and survives what paho does not."""

import functools
import logging
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from brokers import Broker, free_port, until

from shared import mqtt
from shared.mqtt import CONNECTED, BrokerSettings, Link, endpoint, probe


@dataclass
class Heard:
    """What a link told."""

    messages: list[tuple[str, bytes, bool]] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    connections: int = 0

    def connected(self) -> None:
        self.connections += 1

    def message(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # as Link calls it
        self.messages.append((topic, payload, retained))


@dataclass
class Links:
    """Makes links that end with the test."""

    made: list[Link] = field(default_factory=list)

    def __call__(self, settings: BrokerSettings, client_id: str = "vigie-test", **options: Any) -> tuple[Link, Heard]:
        heard = Heard()
        options = {
            "on_connected": heard.connected,
            "on_message": heard.message,
            "on_published": heard.published.append,
            "on_state": heard.states.append,
            **options,
        }
        link = Link(settings, client_id=client_id, **options)
        self.made.append(link)
        link.start()
        return link, heard


@pytest.fixture
def links() -> Iterator[Links]:
    links = Links()
    yield links
    assert all(link.stop(timeout_s=3) for link in links.made)


def up(link: Link) -> bool:
    return link.connected


# Settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", ("broker", 1883, False)),
        ("mqtts://broker", ("broker", 8883, True)),
        ("mqtt://192.0.2.7:1884/", ("192.0.2.7", 1884, False)),
        ("mqtts://[2001:db8::1]:8884", ("2001:db8::1", 8884, True)),
    ],
)
def test_a_url_names_host_port_and_tls(url, expected):
    assert endpoint(BrokerSettings(url=url)) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://broker"}, "'url' must start with mqtt:// or mqtts:// (TLS), got 'http://broker'"),
        ({"url": "broker:1883"}, "'url' must start with mqtt:// or mqtts:// (TLS), got 'broker:1883'"),
        ({"url": "mqtt://"}, "'url' must name a host, as in mqtt://broker.example:1883, got 'mqtt://'"),
        ({"url": "mqtt://broker:99999"}, "'url' must have a port from 1 to 65535, got 'mqtt://broker:99999'"),
        ({"url": "mqtt://broker/site"}, "'url' must end after host and port, got 'mqtt://broker/site'"),
        (
            {"url": "mqtt://pi:hunter2@broker"},
            "'url' must not hold a user name or password: move them to 'username' and 'password_file'",
        ),
        ({"ca_file": "ca.pem"}, "'ca_file' needs TLS: make 'url' start with mqtts://, got 'mqtt://127.0.0.1:1883'"),
        (
            {"url": "mqtts://broker", "cert_file": "pi.pem"},
            "'cert_file' needs 'key_file' beside it: a client certificate is a pair of files",
        ),
        (
            {"url": "mqtts://broker", "key_file": "pi.key"},
            "'key_file' needs 'cert_file' beside it: a client certificate is a pair of files",
        ),
    ],
)
def test_wrong_settings_are_refused_with_the_way_out(changes, message):
    with pytest.raises(ValueError, match=r"must|needs") as refused:
        endpoint(BrokerSettings(**changes))
    assert str(refused.value) == message


# Messages


def test_messages_go_both_ways(broker: Broker, links: Links):
    broker.start()
    link, heard = links(broker.settings(), subscriptions=[("a/+", 1), ("b/#", 0)])
    until(lambda: heard.connections)
    tokens = [link.publish("a/x", b"one"), link.publish("b/y/z", b"two", qos=0), link.publish("c", b"three")]
    until(lambda: len(heard.messages) == 2 and len(heard.published) == 2)
    assert sorted(heard.messages) == [("a/x", b"one", False), ("b/y/z", b"two", False)]
    assert heard.published == [tokens[0], tokens[2]]
    assert heard.states == [CONNECTED]
    assert link.problem is None


def test_a_retained_message_says_that_it_is(broker: Broker, links: Links):
    broker.start()
    first, sent = links(broker.settings(), "vigie-one")
    until(lambda: up(first))
    first.publish("a/x", b"kept", retain=True)
    until(lambda: sent.published)
    _, heard = links(broker.settings(), "vigie-two", subscriptions=[("a/x", 1)])
    until(lambda: heard.messages)
    assert heard.messages[0] == ("a/x", b"kept", True)


def test_thousands_of_messages_pass_the_window_in_order(broker: Broker, links: Links):
    broker.start()
    link, heard = links(broker.settings(), subscriptions=[("a", 1)], max_inflight=16)
    until(lambda: up(link))
    for number in range(3000):
        until(functools.partial(link.publish, "a", b"%d" % number))
    until(lambda: len(heard.published) == 3000 and len(heard.messages) == 3000)
    assert [int(body) for _, body, _ in heard.messages] == list(range(3000))
    assert len(set(heard.published)) == 3000


def test_the_window_is_bounded_and_publishing_never_blocks(broker: Broker, links: Links):
    broker.start()
    link, _ = links(broker.settings(), max_inflight=5)
    until(lambda: up(link))
    broker.freeze()
    began = time.monotonic()
    tokens = [link.publish("a", bytes(100_000)) for _ in range(50)]
    assert time.monotonic() - began < 1
    assert [token is None for token in tokens] == [False] * 5 + [True] * 45


def test_a_large_message_passes(broker: Broker, links: Links):
    broker.start()
    link, heard = links(broker.settings(), subscriptions=[("a", 1)])
    until(lambda: up(link))
    link.publish("a", bytes(2_000_000))
    until(lambda: heard.messages)
    assert heard.messages[0][1] == bytes(2_000_000)


def test_nothing_is_published_without_a_connection(links: Links):
    link, _ = links(BrokerSettings(url=f"mqtt://127.0.0.1:{free_port()}"))
    until(lambda: link.problem)
    assert link.publish("a", b"") is None


# Coming back


def test_it_comes_back_after_the_broker_was_killed(broker: Broker, links: Links, caplog):
    caplog.set_level(logging.INFO, "shared.mqtt")
    broker.start()
    link, heard = links(broker.settings(), subscriptions=[("a", 1)])
    until(lambda: up(link))
    broker.kill()
    until(lambda: link.problem and "refused" in link.problem)
    assert not link.connected
    broker.start()
    until(lambda: up(link))
    link.publish("a", b"again")
    until(lambda: heard.messages)
    assert (heard.connections, link.connections, link.problem) == (2, 2, None)
    assert heard.states[0] == heard.states[-1] == CONNECTED
    assert any(record.message.startswith("broker back after") for record in caplog.records)


def test_it_waits_for_a_broker_that_starts_later(broker: Broker, links: Links):
    link, _ = links(broker.settings())
    until(lambda: link.problem)
    assert link.problem == f"{broker.url}: connection refused: is the broker running there?"
    broker.start()
    until(lambda: up(link))


def test_an_outage_says_each_reason_once(links: Links, caplog):
    port = free_port()
    link, heard = links(BrokerSettings(url=f"mqtt://127.0.0.1:{port}", retry_s_max=0.5))
    with socket.create_server(("127.0.0.1", free_port())):
        until(lambda: link.problem)
        link._stopping.wait(1.5)  # several attempts
    assert [record.message for record in caplog.records] == [link.problem]
    assert heard.states == [link.problem]


def test_what_was_in_flight_is_forgotten_not_sent_again(mosquitto: Broker, links: Links):
    mosquitto.start()
    link, heard = links(mosquitto.settings(), subscriptions=[("a", 1)], max_inflight=4)
    until(lambda: up(link))
    mosquitto.freeze()
    assert all(link.publish("a", b"lost") for _ in range(4))
    mosquitto.kill()
    until(lambda: link.problem)
    mosquitto.start()
    until(lambda: up(link))
    token = link.publish("a", b"new")
    until(lambda: heard.published)
    assert heard.published == [token]
    assert [body for _, body, _ in heard.messages] == [b"new"]


def test_a_broker_that_falls_silent_is_noticed(mosquitto: Broker, links: Links):
    mosquitto.start()
    link, _ = links(mosquitto.settings(keepalive_s=5))
    until(lambda: up(link))
    mosquitto.freeze()
    began = time.monotonic()
    until(lambda: not link.connected)
    assert time.monotonic() - began <= 5 * 1.5 + 2
    assert link.problem == f"{mosquitto.url}: nothing heard for 7.5 s: is the network up?"


def test_callbacks_that_raise_cost_nothing_and_are_told_once(mosquitto: Broker, links: Links, caplog, monkeypatch):
    monkeypatch.setattr(mqtt, "_faults_told", set())
    mosquitto.start()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    link, heard = links(mosquitto.settings(), subscriptions=[("a", 1)], on_message=fail, on_connected=fail)
    until(lambda: up(link))
    for _ in range(5):
        link.publish("a", b"")
    until(lambda: len(heard.published) == 5)
    assert link.connected
    assert len([record for record in caplog.records if "ZeroDivisionError" in record.message]) == 2


def test_a_fault_inside_paho_costs_one_connection(mosquitto: Broker, links: Links, monkeypatch):
    mosquitto.start()
    link, heard = links(mosquitto.settings())
    until(lambda: up(link))

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(paho.Client, "loop_misc", fail)
    until(lambda: heard.connections == 2)
    assert any("RuntimeError" in state for state in heard.states)


def test_two_clients_of_one_id_are_told_what_they_do(mosquitto: Broker, links: Links):
    mosquitto.start()
    settings = mosquitto.settings()
    _, one = links(settings)
    _, two = links(settings)
    until(lambda: any("another client uses the id 'vigie-test'" in state for state in one.states + two.states))


def test_two_clients_of_one_id_meet_ever_more_rarely(monkeypatch):
    """An hour of two links that throw each other out: each connection ends when the other one comes."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    links = [Link(BrokerSettings(), client_id="vigie-test") for _ in range(2)]
    attempts, due, met = [0, 0], [0.0, 0.1], 0
    while min(due) < 3600:
        one = due.index(min(due))
        now[0] = due[one]
        links[one]._up_at, due[one] = now[0], math.inf
        other = 1 - one
        if links[other]._up_at is not None:
            met += 1
            attempts[other] = links[other]._judged(attempts[other], kicked=True)
            links[other]._up_at = None
            due[other] = now[0] + links[other]._pause_s(attempts[other])
            attempts[other] += 1
    assert all(link.taken_over for link in links)
    assert met < 250, "every half minute or so at the end; without back-off every quarter of a second"


@pytest.mark.parametrize(("lasted_s", "expected"), [(1, 3), (9, 3), (15, 3), (17, 0), (100, 0)])
def test_the_back_off_begins_again_after_a_good_connection_only(lasted_s: float, expected: int, monkeypatch):
    link = Link(BrokerSettings(), client_id="vigie-test")
    assert link._pause_s_max(3) == 4
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + lasted_s)
    link._up_at = 1000.0
    assert link._judged(3, kicked=True) == expected
    assert not link.taken_over


def test_attempts_in_between_that_fail_are_no_sign_of_another_client(monkeypatch):
    """A broker that is killed every second is away for a moment each time."""
    link = Link(BrokerSettings(), client_id="vigie-test")
    monkeypatch.setattr(time, "monotonic", lambda: 1001.0)
    for _ in range(20):
        link._up_at = 1000.0
        link._judged(0, kicked=True)
        link._up_at = None
        link._judged(1, kicked=False)
    assert not link.taken_over


# The last will


def test_the_will_is_sent_when_the_process_dies_not_when_it_says_goodbye(broker: Broker, links: Links):
    broker.start()
    _, heard = links(broker.settings(), "vigie-witness", subscriptions=[("state", 1)])
    until(lambda: heard.connections)
    will = ("state", b"offline", 1, False)
    polite, _ = links(broker.settings(), "vigie-polite", will=will)
    until(lambda: up(polite))
    assert polite.stop(("state", b"stopped", 1, False), timeout_s=3)
    with subprocess.Popen([sys.executable, "-c", _RUDE, broker.url], stdout=subprocess.PIPE) as rude:
        assert rude.stdout is not None
        assert rude.stdout.readline() == b"up\n"
        rude.kill()
    until(lambda: len(heard.messages) == 2)
    assert [body for _, body, _ in heard.messages] == [b"stopped", b"offline"]


_RUDE = """
import sys, time
from shared.mqtt import BrokerSettings, Link
will = ("state", b"offline", 1, False)
up = lambda: print("up", flush=True)
Link(BrokerSettings(url=sys.argv[1]), client_id="vigie-rude", will=will, on_connected=up).start()
time.sleep(60)
"""


def test_stopping_is_bounded_while_the_broker_is_away(links: Links):
    link, _ = links(BrokerSettings(url=f"mqtt://127.0.0.1:{free_port()}"))
    until(lambda: link.problem)
    began = time.monotonic()
    assert link.stop(("state", b"stopped", 1, True), timeout_s=3)
    assert time.monotonic() - began < 2


def test_stopping_is_bounded_while_the_broker_is_silent(mosquitto: Broker, links: Links):
    mosquitto.start()
    link, _ = links(mosquitto.settings())
    until(lambda: up(link))
    mosquitto.freeze()
    began = time.monotonic()
    assert link.stop(("state", b"stopped", 1, True), timeout_s=0.5)
    assert time.monotonic() - began < 3


def test_no_thread_and_no_socket_outlives_a_link(mosquitto: Broker):
    mosquitto.start()
    before = threading.active_count()
    for _ in range(5):
        link = Link(mosquitto.settings(), client_id="vigie-test")
        link.start()
        until(functools.partial(up, link))
        assert link.stop()
    assert threading.active_count() == before


# What is wrong, in a sentence


def test_a_refused_password_says_what_to_check(broker: Broker, tmp_path: Path):
    broker.users = {"pi": "right"}
    broker.start()
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    way_out = "check username and password_file"
    refused = f"{broker.url}: the broker refuses user 'pi' (bad user name or password, or not allowed): {way_out}"
    user = {"username": "pi"}
    assert probe(broker.settings(**user, password_file=str(tmp_path / "right")), "vigie-probe", 10) is None
    assert probe(broker.settings(**user, password_file=str(tmp_path / "wrong")), "vigie-probe", 10) == refused


def test_a_broker_that_wants_a_name_says_so(mosquitto: Broker):
    mosquitto.users = {"pi": "right"}
    mosquitto.start()
    expected = f"{mosquitto.url}: the broker refuses clients without a user name: set username and password_file"
    assert probe(mosquitto.settings(), "vigie-probe", 10) == expected


def test_the_password_may_come_from_the_environment(mosquitto: Broker, monkeypatch):
    mosquitto.users = {"pi": "right"}
    mosquitto.start()
    monkeypatch.setenv("VIGIE_BROKER_PASSWORD", "right")
    assert probe(mosquitto.settings(username="pi"), "vigie-probe", 10) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "password_file '{}' cannot be read: No such file or directory"),
        (b"", "password_file '{}' must have the password in its first line, it is empty"),
        (b"\xff\xfe", "password_file '{}' cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_password_file_that_cannot_be_used_is_named(tmp_path: Path, content, message):
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    settings = BrokerSettings(username="pi", password_file=str(path))
    assert probe(settings, "vigie-probe", 10) == message.format(path)


def test_a_subscription_that_is_not_allowed_is_named(links: Links):
    connack, suback_refused = b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x80"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        link, _ = links(BrokerSettings(url=url, username="pi"), subscriptions=[("secret/ack", 0)])
        broker, _ = server.accept()
        with broker:
            broker.recv(1000)
            broker.sendall(connack)
            broker.recv(1000)
            broker.sendall(suback_refused)
            until(lambda: link.problem)
        assert link.problem == f"{url}: the broker does not let pi subscribe to secret/ack: allow it in its ACL"


def test_an_unknown_host_is_named():
    problem = probe(BrokerSettings(url="mqtt://broker.invalid"), "vigie-probe", 20)
    assert problem == (
        "mqtt://broker.invalid:1883: the name 'broker.invalid' is not known: check url, and the name server"
    )


def test_a_server_that_answers_nothing_is_told_from_a_broker(monkeypatch):
    monkeypatch.setattr(mqtt, "_CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        problem = probe(BrokerSettings(url=url), "vigie-probe", 10)
    assert problem == f"{url}: the broker took the connection, but gave no answer within 0.5 s"


def test_a_probe_ends_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        assert probe(BrokerSettings(url=url), "vigie-probe", 0.3) == (
            f"{url}: no answer within 0.3 s: is the address right, and the network up?"
        )


def test_a_probe_says_what_is_wrong_with_the_settings():
    assert probe(BrokerSettings(url="x"), "vigie-probe", 1) == (
        "'url' must start with mqtt:// or mqtts:// (TLS), got 'x'"
    )


# TLS


def tls(mosquitto: Broker, certificates: Path, server: str) -> None:
    mosquitto.tls = certificates / server
    mosquitto.start()


def test_tls_with_our_own_ca(mosquitto: Broker, certificates: Path):
    tls(mosquitto, certificates, "server")
    assert probe(mosquitto.settings(ca_file=str(certificates / "ca.pem")), "vigie-probe", 10) is None


@pytest.mark.parametrize(
    ("server", "ca", "problem"),
    [
        ("server", None, "is signed by an unknown CA: set ca_file to that CA"),
        ("server", "stranger.pem", "is signed by an unknown CA: set ca_file to that CA"),
        ("expired", "ca.pem", "has expired: renew it, or is the clock of this machine wrong?"),
        ("elsewhere", "ca.pem", "is for another address: use the name that it was made for in url"),
    ],
)
def test_a_certificate_that_cannot_be_trusted_says_why(mosquitto: Broker, certificates: Path, server, ca, problem):
    tls(mosquitto, certificates, server)
    settings = mosquitto.settings(ca_file=str(certificates / ca) if ca else None)
    assert probe(settings, "vigie-probe", 10) == f"{mosquitto.url}: the broker's certificate {problem}"


def test_a_certificate_for_another_name_says_so(mosquitto: Broker, certificates: Path):
    tls(mosquitto, certificates, "elsewhere")
    url = f"mqtts://localhost:{mosquitto.port}"
    problem = probe(mosquitto.settings(url=url, ca_file=str(certificates / "ca.pem")), "vigie-probe", 10)
    assert problem == (
        f"{url}: the broker's certificate is for another host name: use the name that it was made for in url"
    )


def test_a_client_certificate_opens_the_door(mosquitto: Broker, certificates: Path):
    mosquitto.client_certificates = True
    tls(mosquitto, certificates, "server")
    ca = {"ca_file": str(certificates / "ca.pem")}
    pair = {"cert_file": str(certificates / "client.pem"), "key_file": str(certificates / "client.key")}
    assert probe(mosquitto.settings(**ca, **pair), "vigie-probe", 10) is None
    assert probe(mosquitto.settings(**ca), "vigie-probe", 10) == (
        f"{mosquitto.url}: closed before the broker answered: "
        "does this port need a client certificate (cert_file, key_file)?"
    )


def test_plain_mqtt_on_a_tls_port_says_so(mosquitto: Broker, certificates: Path):
    tls(mosquitto, certificates, "server")
    url = f"mqtt://127.0.0.1:{mosquitto.port}"
    assert probe(BrokerSettings(url=url), "vigie-probe", 10) == (
        f"{url}: closed before the broker answered: does this port need TLS (mqtts://)?"
    )


def test_tls_on_a_plain_port_says_so(mosquitto: Broker):
    mosquitto.start()
    problem = probe(BrokerSettings(url=f"mqtts://127.0.0.1:{mosquitto.port}"), "vigie-probe", 10)
    assert problem is not None
    assert problem.endswith("does the broker speak TLS on this port? else use mqtt://")


def test_a_ca_file_that_is_not_there_is_named(certificates: Path):
    settings = BrokerSettings(url="mqtts://127.0.0.1", ca_file=str(certificates / "nowhere.pem"))
    assert probe(settings, "vigie-probe", 10) == (
        f"cannot use the TLS files {certificates / 'nowhere.pem'}: [Errno 2] No such file or directory"
    )


# Manners


def test_attempts_are_spread_and_grow_to_their_limit():
    link = Link(BrokerSettings(retry_s_max=20), client_id="vigie-test")
    for attempt, longest_s in ((0, 0.5), (1, 1), (3, 4), (8, 20), (5000, 20)):
        pauses = [link._pause_s(attempt) for _ in range(300)]
        assert 0 <= min(pauses) < 0.2 * longest_s
        assert 0.8 * longest_s < max(pauses) <= longest_s


def test_the_link_watches_unconfirmed_bytes(mosquitto: Broker, links: Links):
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this system has no TCP_USER_TIMEOUT")
    mosquitto.start()
    set_ms: list[int] = []
    opened = mqtt._Session._on_socket_open

    def note(self: mqtt._Session, client: paho.Client, userdata: object, sock: socket.socket) -> None:
        opened(self, client, userdata, sock)
        set_ms.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mqtt._Session, "_on_socket_open", note)
        link, _ = links(mosquitto.settings(keepalive_s=20))
        until(lambda: up(link))
    assert set_ms == [30_000]
