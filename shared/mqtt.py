"""The one wrapper around paho-mqtt, which contains its known faults.

One thread of ours owns the paho client and drives it through paho's interface for foreign event loops, so there
is no paho thread that could die behind `is_connected()`. Each connection gets a fresh client: nothing is resent by
paho, no flood follows a reconnect, and message ids start again. Other threads only queue and wake.
MQTT 3.1.1 with a clean session: what must survive a connection lives in the outbox, not in the broker.
"""

import contextlib
import logging
import os
import random
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from msgspec import Meta, Struct, structs
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

PASSWORD_VARIABLE = "VIGIE_BROKER_PASSWORD"  # noqa: S105  # the name of a variable, not a password
CONNECTED = "connected"
"""What `on_state` is told when the broker is there; else it is told the problem."""

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_CONNECT_S = 10.0
"""For TCP and TLS, and again for the broker's answers to CONNECT and SUBSCRIBE."""
_STABLE_S = 10.0
_STABLE_TIMES = 4.0
"""A connection that lasted so long, and so many times the longest wait before the next, was a good one: the back-off
starts again. So who is thrown out after each connection comes back ever more rarely, and who loses its broker every
half minute is back at once."""
_TAKEN_OVER_S = 2.0
_TAKEN_OVER_TIMES = 4
_QUEUE_MAX = 4096
_TICK_S = 1.0

_log = logging.getLogger(__name__)


class BrokerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach a broker.

    Attributes:
        url: `mqtt://host[:1883]` or `mqtts://host[:8883]` for TLS.
        username: None for a broker that asks for none.
        password_file: File with the password in its first line; else the environment's `VIGIE_BROKER_PASSWORD`.
        ca_file: Certificates to trust instead of the system's.
        cert_file: Client certificate, with `key_file`.
        key_file: Its private key.
        keepalive_s: Longest silence in seconds before a connection counts as dead.
        retry_s_max: Longest wait in seconds between two attempts to connect.
    """

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    retry_s_max: Annotated[float, Meta(ge=0.5, le=3600)] = 60.0


class Endpoint(NamedTuple):
    """Where the broker listens."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


class Publication(NamedTuple):
    """A message as it is published: a last will, a farewell."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


def endpoint(settings: BrokerSettings) -> Endpoint:
    """Read and check the settings; opens no file.

    Raises:
        ValueError: Naming the key below `broker`, its rule, its value and the way out; never a password.
    """
    parts = urlsplit(settings.url)
    if "@" in settings.url:
        raise ValueError("'url' must not hold a user name or password: move them to 'username' and 'password_file'")
    if parts.scheme not in _PORTS:
        raise ValueError(f"'url' must start with mqtt:// or mqtts:// (TLS), got '{settings.url}'")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise ValueError(f"'url' must have a port from 1 to 65535, got '{settings.url}'") from error
    if not parts.hostname:
        raise ValueError(f"'url' must name a host, as in mqtt://broker.example:1883, got '{settings.url}'")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"'url' must end after host and port, got '{settings.url}'")
    tls = parts.scheme == "mqtts"
    _check_tls(settings, tls=tls)
    return Endpoint(parts.hostname, port, tls)


def located(settings: BrokerSettings, folder: Path) -> BrokerSettings:
    """The settings with their files found: they are relative to the folder of the configuration file."""
    names = ("password_file", "ca_file", "cert_file", "key_file")
    files = {name: str(folder / Path(path).expanduser()) for name in names if (path := getattr(settings, name))}
    return structs.replace(settings, **files)


def _check_tls(settings: BrokerSettings, *, tls: bool) -> None:
    for key in ("ca_file", "cert_file", "key_file"):
        if getattr(settings, key) and not tls:
            raise ValueError(f"'{key}' needs TLS: make 'url' start with mqtts://, got '{settings.url}'")
    if bool(settings.cert_file) != bool(settings.key_file):
        given, missing = ("cert_file", "key_file") if settings.cert_file else ("key_file", "cert_file")
        raise ValueError(f"'{given}' needs '{missing}' beside it: a client certificate is a pair of files")


def probe(settings: BrokerSettings, client_id: str, timeout_s: float) -> str | None:
    """Connect once: None when the broker takes us, else what is wrong in a sentence to act on."""
    states: SimpleQueue[str] = SimpleQueue()
    try:
        link = Link(settings, client_id=client_id, on_state=states.put)
    except ValueError as error:
        return str(error)
    link.start()
    try:
        state = states.get(timeout=timeout_s)
    except Empty:
        return f"{endpoint(settings)}: no answer within {timeout_s:g} s: is the address right, and the network up?"
    finally:
        link.stop(timeout_s=1.0)
    return None if state == CONNECTED else state


class _Lost(Exception):
    """The connection ended, or did not come about; the text says why. `kicked`: the broker closed it."""

    def __init__(self, problem: str, *, kicked: bool = False) -> None:
        super().__init__(problem)
        self.kicked = kicked


class Link:
    """A connection to the broker that comes back by itself.

    All callbacks run in the link's own thread; what they raise is logged once per kind and goes no further.

    Args:
        settings: How to reach the broker.
        client_id: Unique at the broker: two clients of one id throw each other out.
        subscriptions: Topic filters with their QoS, subscribed at each connection.
        will: What the broker says for us when the connection breaks.
        on_connected: Called at each connection, when every subscription is confirmed.
        on_message: Called with topic, payload and whether it was retained.
        on_published: Called with the token of a QoS 1 message that the broker confirmed.
        on_state: Called with `CONNECTED`, or with the problem, at each change.
        max_inflight: QoS 1 messages at most that the broker has not confirmed.
        beat: Called at least every other second, but while a connection comes about: the thread's sign of life.

    Raises:
        ValueError: See `endpoint`.
    """

    def __init__(  # noqa: PLR0913  # five of them are callbacks, all by name
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        subscriptions: Sequence[tuple[str, int]] = (),
        will: tuple[str, bytes, int, bool] | None = None,
        on_connected: Callable[[], None] | None = None,
        on_message: Callable[[str, bytes, bool], None] | None = None,
        on_published: Callable[[int], None] | None = None,
        on_state: Callable[[str], None] | None = None,
        max_inflight: int = 64,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint(settings)
        self._client_id = client_id
        self._subscriptions = list(subscriptions)
        self._will = Publication(*will) if will else None
        self._on_connected = on_connected
        self._on_message = on_message
        self._on_published = on_published
        self._on_state = on_state
        self._max_inflight = max_inflight
        self._beat = beat
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = -1, -1
        self._lock = threading.Lock()  # over the queue, the tokens and the wake descriptor
        self._queue: deque[tuple[int, Publication]] = deque()
        self._unconfirmed: set[int] = set()
        self._last_token = 0
        self._connected = False
        self._problem: str | None = None
        self._farewell: Publication | None = None
        self._stopping = threading.Event()
        self._stop_by = 0.0
        self._connections = 0
        self._down_since: float | None = None
        self._told: set[str] = set()
        self._kicks = 0
        self._up_at: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker confirmed connection and subscriptions, and nothing has failed since."""
        return self._connected

    @property
    def alive(self) -> bool:
        """Whether the link's thread is."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def problem(self) -> str | None:
        """Why there is no connection, in a sentence to act on; None while there is one or none was tried."""
        return self._problem

    @property
    def connections(self) -> int:
        """Connections that came about since the start."""
        return self._connections

    @property
    def taken_over(self) -> bool:
        """Whether another client seems to use our id: the broker ends our connections soon after they began."""
        return self._kicks >= _TAKEN_OVER_TIMES

    def start(self) -> None:
        """Begin to connect, in a thread of its own; returns at once."""
        if self._thread is not None:
            raise RuntimeError("a link starts once: make a new one")
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name=f"mqtt {self._client_id}", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int | None:  # noqa: FBT001, FBT002  # MQTT's own words
        """Hand a message over; never blocks.

        Returns:
            The token that `on_published` gets when the broker confirms (QoS 1), or None: not connected, or the
            window is full. A message whose connection breaks before the confirmation is forgotten here.
        """
        with self._lock:
            full = len(self._unconfirmed) >= self._max_inflight if qos else len(self._queue) >= _QUEUE_MAX
            if full or not self._connected or self._stopping.is_set():
                return None
            waking = not self._queue  # else it was woken for what is queued already
            token = self._enqueue(Publication(topic, payload, qos, retain))
        if waking:
            self._wake()
        return token

    def stop(self, farewell: tuple[str, bytes, int, bool] | None = None, timeout_s: float = 5.0) -> bool:
        """End: publish `farewell`, wait for its confirmation, and disconnect so that no will is sent.

        Returns:
            Whether the link's thread ended within `timeout_s`.
        """
        if self._thread is None:
            return True
        with self._lock:
            self._farewell = Publication(*farewell) if farewell else None
            self._stop_by = time.monotonic() + timeout_s
            self._stopping.set()
        self._wake()
        self._thread.join(timeout_s + 0.5)
        return not self._thread.is_alive()

    def _enqueue(self, message: Publication) -> int:
        self._last_token += 1
        self._queue.append((self._last_token, message))
        if message.qos:
            self._unconfirmed.add(self._last_token)
        return self._last_token

    def _wake(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # full: it wakes anyway; closed: nobody is left to wake
            os.write(self._wake_write, b"\0")

    # From here on everything runs in the link's own thread.

    def _run(self) -> None:
        attempt = 0
        self._down_since = time.monotonic()
        while not self._stopping.is_set():
            self._up_at = None
            try:
                self._serve()
            except _Lost as lost:
                attempt = self._judged(attempt, kicked=lost.kicked)
                self._down(self._taken_over() or str(lost))
            except Exception as error:  # noqa: BLE001  # whatever paho or the system raises, the link must come back
                _tell_once(f"connection: {type(error).__name__}")
                attempt = self._judged(attempt, kicked=False)
                self._down(f"{self._endpoint}: {type(error).__name__}: {error}")
            self._pause(self._pause_s(attempt))
            attempt += 1
        with self._lock:  # a late `_wake` must not write into a descriptor that somebody else got
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_write = -1

    def _pause(self, duration_s: float) -> None:
        until = time.monotonic() + duration_s
        while not self._stopping.is_set() and (left_s := until - time.monotonic()) > 0:
            self._beat()
            self._stopping.wait(min(_TICK_S, left_s))

    def _pause_s(self, attempt: int) -> float:
        """Full jitter: a thousand devices that lost one broker do not come back together."""
        return random.uniform(0, self._pause_s_max(attempt))  # noqa: S311  # no secret hangs on it

    def _pause_s_max(self, attempt: int) -> float:
        longest: float = min(self._settings.retry_s_max, 0.5 * 2.0 ** min(attempt, 20))
        return longest

    def _judged(self, attempt: int, *, kicked: bool) -> int:
        """The number of the next attempt: 0 after a good connection. Counts those that the broker soon ended."""
        lasted_s = 0.0 if self._up_at is None else time.monotonic() - self._up_at
        longest_s = self._pause_s_max(attempt)
        if lasted_s >= max(_STABLE_S, _STABLE_TIMES * longest_s):
            self._kicks = 0
            return 0
        if self._up_at is None or not kicked:
            self._kicks = 0
        elif lasted_s < max(_TAKEN_OVER_S, longest_s):
            self._kicks += 1
        return attempt

    def _serve(self) -> None:
        """One connection, from its first packet to its end; returns when the link was stopped.

        Raises:
            _Lost: The connection failed.
        """
        session = _Session(self._settings, self._endpoint, self._client_id, self._will, self._subscriptions)
        session.message = self._received
        session.published = self._confirmed
        try:
            self._beat()
            session.open(self._wake_read)
            while not session.ready:
                self._beat()
                if self._stopping.is_set():
                    return
                session.step()
            self._up()
            while not self._stopping.is_set():
                self._beat()
                self._hand_over(session)
                session.step()
            self._part(session)
        finally:
            with self._lock:
                self._connected = False
                self._queue.clear()
                self._unconfirmed.clear()
            session.close()

    def _hand_over(self, session: "_Session") -> None:
        """Give paho what is queued, but no more than the socket takes: the rest waits here, where it is bounded."""
        while session.writable:
            with self._lock:
                if not self._queue:
                    return
                token, message = self._queue.popleft()
            session.publish(token, message)

    def _part(self, session: "_Session") -> None:
        with self._lock:
            token = self._enqueue(self._farewell) if self._farewell else None
        while time.monotonic() < self._stop_by:
            self._hand_over(session)
            with self._lock:
                done = not self._queue and token not in self._unconfirmed
            if done and session.writable:
                break
            session.step(0.1)
        session.disconnect()

    def _up(self) -> None:
        now = self._up_at = time.monotonic()
        with self._lock:
            self._connected = True
            self._problem = None
        self._connections += 1
        if self._connections == 1:
            _log.info("connected to %s", self._endpoint)
        elif self._down_since is not None:
            _log.info("broker back after %.0f s", now - self._down_since)
        self._down_since = None
        self._told.clear()
        self._call("on_state", self._on_state, CONNECTED)
        self._call("on_connected", self._on_connected)

    def _down(self, problem: str) -> None:
        changed = problem != self._problem
        self._problem = problem
        if self._down_since is None:
            self._down_since = time.monotonic()
        if problem not in self._told:  # an outage of hours says each of its reasons once
            self._told.add(problem)
            _log.warning("%s", problem)
        if changed:
            self._call("on_state", self._on_state, problem)

    def _taken_over(self) -> str | None:
        if not self.taken_over:
            return None
        return (
            f"{self._endpoint}: another client uses the id '{self._client_id}': the broker ended {self._kicks} "
            "connections soon after they began; give each device its own name"
        )

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # as `on_message`
        self._call("on_message", self._on_message, topic, payload, retained)

    def _confirmed(self, token: int) -> None:
        with self._lock:
            self._unconfirmed.discard(token)
        self._call("on_published", self._on_published, token)

    def _call(self, name: str, callback: Callable[..., None] | None, *args: object) -> None:
        if callback is None:
            return
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001  # a fault of the caller must not cost the connection
            _tell_once(f"{name}: {type(error).__name__}")


_faults_told: set[str] = set()


def _tell_once(kind: str) -> None:
    if kind not in _faults_told:
        _faults_told.add(kind)
        _log.exception("the MQTT link met an unexpected fault and goes on (told once): %s", kind)


class _Session:
    """One connection with its own paho client; used by the link's thread only."""

    def __init__(
        self,
        settings: BrokerSettings,
        where: Endpoint,
        client_id: str,
        will: Publication | None,
        subscriptions: Sequence[tuple[str, int]],
    ) -> None:
        self._settings = settings
        self._where = where
        self._subscriptions = subscriptions
        self._pending: int | None = None
        self._answered = False
        self._silent = False
        self._tokens: dict[int, int] = {}
        self._failure: str | None = None
        self._tls: _TlsContext | None = None
        self._selector = selectors.DefaultSelector()
        self._wake = -1
        self._deadline = 0.0
        self.ready = False
        self.message: Callable[[str, bytes, bool], None]
        self.published: Callable[[int], None]
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(0)  # the link bounds them; paho's limit would only queue out of sight
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_socket_open = self._on_socket_open
        if will:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        self._client = client

    @property
    def writable(self) -> bool:
        """Whether the socket took everything so far."""
        return self._client.socket() is not None and not self._client.want_write()

    def open(self, wake: int) -> None:
        """TCP, TLS and CONNECT; the answer comes in `step`. `wake` is a descriptor that ends its waiting.

        Raises:
            _Lost: With the reason.
        """
        self._secure()
        # paho pings after one keepalive and gives up after another: three quarters make that 1.5 times ours.
        keepalive_s = max(3, self._settings.keepalive_s * 3 // 4)
        try:
            self._client.connect(self._where.host, self._where.port, keepalive_s)
        except (OSError, UnicodeError) as error:
            if self._tls is not None:
                self._tls.close_last()
            raise _Lost(f"{self._where}: {_explain(error, self._where)}") from error
        sock = self._client.socket()
        if sock is None:
            raise self._lost()
        self._selector.register(wake, selectors.EVENT_READ)
        self._selector.register(sock.fileno(), selectors.EVENT_READ)
        self._wake = wake
        self._deadline = time.monotonic() + _CONNECT_S

    def _secure(self) -> None:
        settings = self._settings
        if settings.username is not None:
            self._client.username_pw_set(settings.username, _password(settings))
        if not self._where.tls:
            return
        try:
            self._tls = _TlsContext(settings)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            files = [f for f in (settings.ca_file, settings.cert_file, settings.key_file) if f]
            raise _Lost(f"cannot use the TLS files {', '.join(files)}: {error}") from error
        self._client.tls_set_context(self._tls)

    def step(self, timeout_s: float = _TICK_S) -> None:
        """Wait for something to read, to write or to do, and do it.

        Raises:
            _Lost: The connection ended.
        """
        if not self.ready and time.monotonic() > self._deadline:
            raise _Lost(f"{self._where}: the broker took the connection, but gave no answer within {_CONNECT_S:g} s")
        sock = self._client.socket()
        if sock is None:
            raise self._lost()
        descriptor = sock.fileno()
        writing = selectors.EVENT_WRITE if self._client.want_write() else 0
        self._selector.modify(descriptor, selectors.EVENT_READ | writing)
        buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        ready = {key.fd: events for key, events in self._selector.select(0 if buffered else timeout_s)}
        if self._wake in ready:
            os.read(self._wake, 65_536)
        self._move(ready.get(descriptor, 0) | (selectors.EVENT_READ if buffered else 0))

    def _move(self, events: int) -> None:
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        if events & selectors.EVENT_READ:
            code = self._client.loop_read()
        if not code and events & selectors.EVENT_WRITE:
            code = self._client.loop_write()
        if not code:
            code = self._client.loop_misc()
        if code or self._failure or self._client.socket() is None:
            raise self._lost()

    def publish(self, token: int, message: Publication) -> None:
        """Give paho one message; a failure shows in the next `step`."""
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        if message.qos:
            self._tokens[info.mid] = token

    def disconnect(self) -> None:
        """Say goodbye, so that the broker keeps the will to itself."""
        self._client.disconnect()

    def close(self) -> None:
        """Close the socket, whatever state it is in."""
        sock = self._client.socket()
        self._selector.close()
        if sock is not None:
            sock.close()

    def _lost(self) -> _Lost:
        if self._failure:
            return _Lost(f"{self._where}: {self._failure}")
        if not self._answered:
            need = "a client certificate (cert_file, key_file)" if self._where.tls else "TLS (mqtts://)"
            return _Lost(f"{self._where}: closed before the broker answered: does this port need {need}?")
        if self._silent:
            return _Lost(f"{self._where}: nothing heard for {self._settings.keepalive_s * 1.5:g} s: is the network up?")
        return _Lost(f"{self._where}: the connection was closed: did the broker stop?", kicked=True)

    def _on_connect(
        self, client: paho.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._answered = True
        if reason.is_failure:
            self._failure = _refusal(reason, self._settings)
        elif self._subscriptions:
            _, self._pending = client.subscribe(list(self._subscriptions))
        else:
            self.ready = True

    def _on_subscribe(
        self, _client: paho.Client, _userdata: object, mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        if mid != self._pending:
            return
        refused = [topic for (topic, _), reason in zip(self._subscriptions, reasons, strict=False) if reason.is_failure]
        if refused:
            who = self._settings.username or "a client without user name"
            self._failure = f"the broker does not let {who} subscribe to {', '.join(refused)}: allow it in its ACL"
        self.ready = not refused

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # a topic that breaks MQTT's own rules is none of ours
        self.message(topic, bytes(message.payload), message.retain)

    def _on_publish(
        self, _client: paho.Client, _userdata: object, mid: int, _reason: object, _properties: object
    ) -> None:
        token = self._tokens.pop(mid, None)
        if token is not None:
            self.published(token)

    def _on_disconnect(
        self, _client: paho.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        self._silent = reason.getName() == "Keep alive timeout"

    def _on_socket_open(self, _client: paho.Client, _userdata: object, sock: object) -> None:
        """Bytes that nobody confirms end the connection too, not only silence; and no window waits for Nagle."""
        if not isinstance(sock, socket.socket):
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, int(self._settings.keepalive_s * 1500))


class _TlsContext(ssl.SSLContext):
    """TLS 1.2 or newer, with the host's name verified. Remembers its socket: paho leaks it when a handshake fails."""

    def __new__(cls, *_: object) -> "_TlsContext":  # noqa: PYI034  # Python 3.10 has no Self
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, settings: BrokerSettings) -> None:
        self._last: ssl.SSLSocket | None = None
        self.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.ca_file:
            self.load_verify_locations(settings.ca_file)
        else:
            self.load_default_certs()
        if settings.cert_file:
            self.load_cert_chain(settings.cert_file, settings.key_file)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401  # passed on as they are
        self._last = super().wrap_socket(*args, **options)
        return self._last

    def close_last(self) -> None:
        if self._last is not None:
            self._last.close()


def _password(settings: BrokerSettings) -> str | None:
    """Read at each connection: a changed password needs no restart."""
    if settings.password_file is None:
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        lines = Path(settings.password_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise _Lost(f"password_file '{settings.password_file}' cannot be read: {reason}") from None
    if not lines or not lines[0]:
        raise _Lost(f"password_file '{settings.password_file}' must have the password in its first line, it is empty")
    return lines[0]


def _refusal(reason: ReasonCode, settings: BrokerSettings) -> str:
    name = reason.getName()
    if name in {"Bad user name or password", "Not authorized"}:
        if settings.username is None:
            return "the broker refuses clients without a user name: set username and password_file"
        return (
            f"the broker refuses user '{settings.username}' (bad user name or password, or not allowed): "
            "check username and password_file"
        )
    if name == "Client identifier not valid":
        return "the broker refuses the client id: its rules for ids must allow vigie-…"
    return f"the broker refuses the connection: {name}"


_CERTIFICATE = {
    9: "is not valid yet: is the clock of this machine right?",
    10: "has expired: renew it, or is the clock of this machine wrong?",
    18: "is signed by itself: set ca_file to its CA",
    19: "is signed by an unknown CA: set ca_file to that CA",
    20: "is signed by an unknown CA: set ca_file to that CA",
    21: "is signed by an unknown CA: set ca_file to that CA",
    62: "is for another host name: use the name that it was made for in url",
    64: "is for another address: use the name that it was made for in url",
}
"""By OpenSSL's verify code."""


def _explain(error: OSError | UnicodeError, where: Endpoint) -> str:
    """Why connecting failed, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        meaning = _CERTIFICATE.get(error.verify_code, f"cannot be verified: {error.verify_message}")
        return f"the broker's certificate {meaning}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"the name '{where.host}' is not known: check url, and the name server"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: is the broker running there?"
    if isinstance(error, TimeoutError):
        return f"no answer within {_CONNECT_S:g} s: is the address right, and does the firewall let it through?"
    if where.tls and isinstance(error, ssl.SSLError | ConnectionResetError | BrokenPipeError):
        return f"TLS failed ({error.strerror or error}): does the broker speak TLS on this port? else use mqtt://"
    return f"{error.strerror or error}: is the network up?"
