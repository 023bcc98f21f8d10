"""The embedded broker."""

import socket

import pytest
from brokers import free_port, until

from collector.broker import CannotListen, EmbeddedBroker
from shared.mqtt import BrokerSettings, Link, probe


def test_it_takes_connections_and_carries_messages() -> None:
    port = free_port()
    got: list[tuple[str, bytes]] = []
    with EmbeddedBroker("127.0.0.1", port):
        settings = BrokerSettings(url=f"mqtt://127.0.0.1:{port}")
        link = Link(
            settings,
            client_id="test",
            subscriptions=[("a/+", 1)],
            on_message=lambda topic, payload, _: got.append((topic, payload)),
        )
        link.start()
        until(lambda: link.connected)
        link.publish("a/b", b"hello")
        until(lambda: got)
        link.stop()
    assert ("a/b", b"hello") in got
    assert probe(settings, "test", 2.0) is not None


def test_it_ends_while_clients_are_connected_and_starts_again() -> None:
    port = free_port()
    link = Link(BrokerSettings(url=f"mqtt://127.0.0.1:{port}", retry_s_max=0.5), client_id="test")
    with EmbeddedBroker("127.0.0.1", port):
        link.start()
        until(lambda: link.connected)
    until(lambda: not link.connected)
    with EmbeddedBroker("127.0.0.1", port):
        until(lambda: link.connected)
        link.stop()


def test_a_taken_port_is_said_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = f"port {port} on 127.0.0.1 is in use: stop the other broker or set embedded_broker.port"
        with pytest.raises(CannotListen, match=expected):
            EmbeddedBroker("127.0.0.1", port).start()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotListen, match=r"set embedded_broker\.host to an address of this machine"):
        EmbeddedBroker("192.0.2.1", 1883).start()
