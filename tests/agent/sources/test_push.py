"""Pictures that are pushed: a real capture process with its HTTP server, and clients of every kind."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from smallsite import free_port, wait_for

from agent import check
from agent.capture import Backoff, Capture, Progress
from agent.clock import Clock
from agent.config import StreamSettings
from agent.sources import Lost, push, resolve

FILE = "token"
ANY = "0.0.0.0:80"  # an address, which nothing here listens on
TOKEN = "a-word-of-more-than-16-characters"  # noqa: S105  # of this test
WAIT_S = 30.0


def png(grey: int, width: int = 40, height: int = 30) -> bytes:
    return cv2.imencode(".png", np.full((height, width, 3), grey, np.uint8))[1].tobytes()


class Pushed:
    """A push source in its capture process, and a consumer that answers each frame with its mean grey."""

    def __init__(self, folder: Path, port: int, *, deadline_s: float = 10.0, **options: object) -> None:
        self.port = port
        self.events: list[tuple[str, str]] = []
        self.settled: list[tuple[int, int, str]] = []
        self.given: list[int] = []
        self.requests: dict[int, int] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.answer = lambda frame: {"frame": frame.number, "grey": round(float(frame.pixels.mean()))}
        self.ok = True
        progress = Progress.in_memory(["cam0"])
        self.counter = progress.counter("cam0")
        self.capture = Capture(
            "cam0",
            resolve({"push": port, **options}, folder),
            None,
            progress,
            Clock(),
            deadline_s=deadline_s,
            open_deadline_s=max(deadline_s, 30.0) if deadline_s >= 10 else deadline_s,  # starting Python takes a while
            backoff=Backoff(0.05, 0.1),
            on_event=lambda name, detail: self.events.append((name, detail)),
            on_settled=lambda first, last, outcome: self.settled.append((first, last, outcome)),
            on_requests=self._count,
        )
        self._consumer = threading.Thread(target=self._consume)

    def _count(self, requests: dict[int, int]) -> None:
        for status, count in requests.items():
            self.requests[status] = self.requests.get(status, 0) + count

    def _consume(self) -> None:
        for frame in self.capture.frames():
            self.given.append(frame.number)
            self.may_answer.wait(WAIT_S)
            if frame.answer is not None:
                frame.answer(json.dumps(self.answer(frame)).encode(), self.ok)

    def __enter__(self) -> "Pushed":  # noqa: PYI034  # Self needs Python 3.11
        self.capture.__enter__()
        self._consumer.start()
        wait_for(self.listens, "the server")
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self.capture.stop()
        self._consumer.join(WAIT_S)
        self.capture.__exit__(None, None, None)

    def listens(self):
        try:
            return self.ask("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def ask(self, method="POST", path="/predict", body=None, headers=None):
        """Status, JSON, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            return request(connection, method, path, body, headers)
        finally:
            connection.close()

    def push(self, picture: bytes, **headers: str):
        return self.ask(body=picture, headers={"Content-Type": "image/png", **headers})


def request(connection, method="POST", path="/predict", body=None, headers=None):
    connection.request(method, path, body, headers or {"Content-Type": "image/png"})
    response = connection.getresponse()
    return response.status, json.loads(response.read()), dict(response.getheaders())


@pytest.fixture
def pushed(tmp_path):
    with Pushed(tmp_path, free_port()) as source:
        yield source


def test_every_request_is_answered_with_its_own_picture(pushed):
    def client(first):
        connection = http.client.HTTPConnection("127.0.0.1", pushed.port, timeout=WAIT_S)
        answers = []
        for grey in range(first, first + 20):
            sock_before = connection.sock
            answers.append((grey, *request(connection, body=png(grey))))
            assert sock_before in (None, connection.sock), "the connection is kept"
        connection.close()
        return answers

    with ThreadPoolExecutor(6) as pool:
        answers = [answer for batch in pool.map(client, range(0, 240, 40)) for answer in batch]
    assert {status for _, status, _, _ in answers} == {200}
    for grey, _, answer, headers in answers:
        assert answer["grey"] == grey
        assert answer["id"] == headers["X-Request-Id"]
    assert sorted(answer["frame"] for _, _, answer, _ in answers) == list(range(1, 121))
    assert pushed.given == list(range(1, 121)), "in order, none skipped"


def test_a_form_and_a_bare_body_are_taken(pushed):
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    form = head + png(77) + b"\r\n--x--\r\n"
    assert pushed.ask(body=form, headers={"Content-Type": "multipart/form-data; boundary=x"})[1]["grey"] == 77
    assert pushed.ask(body=png(78), headers={"Content-Type": "application/octet-stream"})[1]["grey"] == 78
    wrong = form.replace(b'"image"', b'"picture"')
    status, answer, _ = pushed.ask(body=wrong, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert status == 400
    assert "form field 'image'" in answer["error"]


def test_a_large_form_makes_no_file(pushed):
    random = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    picture = cv2.imencode(".png", random)[1].tobytes()
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    pushed.answer = lambda frame: {"shape": frame.pixels.shape, "files": open_files(pushed.capture.pid)}
    status, answer, _ = pushed.ask(body=form, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert (status, answer["shape"]) == (200, [700, 900, 3])
    assert len(picture) > 1_000_000
    assert [name for name in answer["files"] if name.endswith("(deleted)") and "memfd:" not in name] == []


def open_files(pid):
    names = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(str(fd.readlink()))
    return names


DOCS = Path(__file__).resolve().parents[3] / "docs/push.md"


def test_the_pages_examples_work(tmp_path):
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("curl ")]
    assert len(lines) == 3
    (tmp_path / "push-token").write_text(f"{TOKEN}\n")
    (tmp_path / "photo.jpg").write_bytes(cv2.imencode(".jpg", np.full((40, 60, 3), 99, np.uint8))[1].tobytes())
    for token_file, commands in ((None, lines[:2]), ("push-token", lines[2:])):
        with Pushed(tmp_path, free_port(), token_file=token_file) as pushed:
            for command in commands:
                here = command.replace("127.0.0.1:8080", f"127.0.0.1:{pushed.port}").replace("curl ", "curl -sS ")
                done = subprocess.run(["bash", "-c", here], cwd=tmp_path, capture_output=True, check=True)
                assert json.loads(done.stdout)["grey"] == 99


def test_a_picture_is_turned_as_its_exif_says(pushed):
    jpeg = cv2.imencode(".jpg", np.zeros((20, 40, 3), np.uint8))[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    pushed.answer = lambda frame: {"shape": frame.pixels.shape}
    assert pushed.push(jpeg)[1]["shape"] == [20, 40, 3]
    assert pushed.push(turned)[1]["shape"] == [40, 20, 3]


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be of this size."""
    picture = png(9)
    return picture[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + picture[24:]


REFUSED = [
    ("no picture", b"", "image/png", 400, "there is no picture in the request"),
    ("another type", png(1), "text/plain", 415, "this Content-Type holds no picture"),
    ("no format", b"hello" * 20, "image/png", 415, "is no picture in a format that is read here"),
    ("too many pixels", claims(60_000, 60_000), "image/png", 413, "claims to be 60000x60000 pixels, 25 million"),
    ("too many bytes", b"\x89PNG\r\n\x1a\n" + bytes(1_000_000), "image/png", 413, "has 1000008 bytes"),
]


def test_a_refusal_says_why_and_costs_no_frame(tmp_path):
    with Pushed(tmp_path, free_port(), max_mb=1) as pushed:
        for case, body, kind, status, words in REFUSED:
            got, answer, headers = pushed.ask(body=body, headers={"Content-Type": kind})
            assert (got, words in answer["error"]) == (status, True), (case, answer)
            assert answer["status"] == status
            assert headers["Content-Type"] == "application/json"
        with socket.create_connection(("127.0.0.1", pushed.port), timeout=WAIT_S) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")
            response = http.client.HTTPResponse(client)
            response.begin()
            assert "send a smaller one" in json.loads(response.read())["error"], "before anything was sent"
            assert response.status == 413
        assert pushed.ask("GET", "/nowhere")[0] == 404
        got, answer, headers = pushed.ask("GET", "/predict")
        assert (got, set(headers["Allow"].split(", "))) == (405, {"POST", "OPTIONS"})
        assert pushed.push(png(5))[1]["frame"] == 1, "none of them got a number"
        expected = {400: 1, 415: 2, 413: 3, 404: 1, 405: 1, 200: 1}
        wait_for(lambda: pushed.requests == expected, f"counts {expected}, not {pushed.requests}")


def test_a_damaged_picture_is_a_frame_that_is_unreadable(pushed):
    status, answer, _ = pushed.push(png(5)[:60])
    assert (status, answer["frame"]) == (422, 1)
    assert "cannot be decoded" in answer["error"]
    assert pushed.push(png(6))[1] | {"id": ""} == {"id": "", "frame": 2, "grey": 6}
    wait_for(lambda: pushed.settled == [(1, 1, "unreadable")], "the outcome")


def test_two_hundred_bad_requests_leave_it_well(pushed):
    for number in range(200):
        status, _, _ = pushed.push(claims(0, number) if number % 2 else png(1)[: 40 + number % 20])
        assert status in (413, 415, 422)
    assert pushed.push(png(200))[1]["grey"] == 200
    assert not pushed.events


def test_a_model_that_fails_is_told(pushed):
    pushed.ok, pushed.answer = False, lambda frame: {"frame": frame.number, "error": "the model failed"}
    status, answer, _ = pushed.push(png(1))
    assert (status, answer["frame"], answer["error"]) == (500, 1, "the model failed")


def test_a_long_answer_arrives_whole(pushed):
    long = [{"class": "a-name-of-some-length", "box": [1.25, 2.5, 3.75, 5.0], "n": n} for n in range(3000)]
    pushed.answer = lambda _frame: {"detections": long}
    assert pushed.push(png(1))[1]["detections"] == long


def test_more_than_may_wait_are_refused_at_once(tmp_path):
    with Pushed(tmp_path, free_port(), waiting=2) as pushed, ThreadPoolExecutor(2) as pool:
        pushed.may_answer.clear()
        waiting = [pool.submit(pushed.push, png(grey)) for grey in (10, 20)]
        wait_for(lambda: pushed.counter.value == 2, "both to be taken")
        status, answer, headers = pushed.push(png(30))
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "2 pictures wait already" in answer["error"]
        pushed.may_answer.set()
        assert sorted(task.result(WAIT_S)[1]["grey"] for task in waiting) == [10, 20]


def test_a_request_without_an_answer_is_told_so_in_time(tmp_path):
    with Pushed(tmp_path, free_port(), timeout_s=0.3) as pushed:
        pushed.may_answer.clear()
        status, answer, _ = pushed.push(png(1))
        assert (status, answer["frame"]) == (504, 1)
        assert "booked all the same" in answer["error"]
        pushed.may_answer.set()
        wait_for(lambda: pushed.given == [1], "the frame")
        pushed.answer = lambda frame: {"frame": frame.number}
        assert wait_for(lambda: (got := pushed.push(png(2)))[0] == 200 and got, "an answer")[1]["frame"] >= 2


def test_slow_and_vanished_clients_stop_nobody(pushed):
    picture = png(90)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", pushed.port)) for _ in range(20)]
    for client in slow:
        client.sendall(head.encode() + picture[:30])
    assert pushed.push(png(91))[1] | {"id": ""} == {"id": "", "frame": 1, "grey": 91}
    for client in slow[1:]:
        client.close()
    for byte in picture[30:]:
        slow[0].sendall(bytes([byte]))
    response = http.client.HTTPResponse(slow[0])
    response.begin()
    assert json.loads(response.read())["grey"] == 90, "the slow one gets its answer, too"
    slow[0].close()
    assert pushed.given == [1, 2], "half a body is no frame"


def test_a_killed_process_costs_what_it_held_and_the_port_comes_back(pushed):
    assert pushed.push(png(1))[0] == 200
    pushed.may_answer.clear()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(pushed.push, png(grey)) for grey in (2, 3, 4)]
        wait_for(lambda: len(pushed.given) == 2, "a frame with the model")
        os.kill(pushed.capture.pid, signal.SIGKILL)
        for task in waiting:
            with pytest.raises((OSError, http.client.HTTPException)):
                task.result(WAIT_S)
    pushed.may_answer.set()
    wait_for(pushed.listens, "the server")
    answer = pushed.push(png(50))[1]
    assert answer["grey"] == 50
    wait_for(lambda: [name for name, _ in pushed.events] == ["camera_lost", "camera_back"], "both events")
    gone = {n for first, last, _ in pushed.settled for n in range(first, last + 1)}
    assert sorted([*gone, *pushed.given]) == list(range(1, answer["frame"] + 1)), "each number once"


def test_who_waits_when_the_agent_stops_is_told(pushed):
    pushed.may_answer.clear()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(pushed.push, png(grey)) for grey in (2, 3, 4)]
        wait_for(lambda: pushed.given, "a frame with the model")
        pushed.capture.stop()
        replies = [task.result(WAIT_S) for task in waiting]
    assert {status for status, _, _ in replies} == {503}
    assert {"the agent is stopping" in answer["error"] for _, answer, _ in replies} == {True}
    wait_for(lambda: not pushed.listens(), "the end")
    pushed.may_answer.set()
    pushed._consumer.join(WAIT_S)
    assert pushed.requests == {503: 3}


def test_silence_is_no_fault(tmp_path):
    """Nobody sends anything for many deadlines; then somebody does."""
    with Pushed(tmp_path, free_port(), deadline_s=2.0) as pushed:
        pid, until = pushed.capture.pid, time.monotonic() + 5.0
        while time.monotonic() < until:
            assert not pushed.events
            time.sleep(0.05)
        assert pushed.capture.pid == pid
        assert pushed.push(png(7))[1]["frame"] == 1


def test_a_port_in_use_is_said_and_waited_for(tmp_path):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        pushed = Pushed(tmp_path, other.getsockname()[1])
        pushed.capture.__enter__()
        pushed._consumer.start()
        try:
            wait_for(lambda: pushed.events, "the event")
            name, detail = pushed.events[0]
            assert name == "camera_lost"
            assert f"cannot listen on 127.0.0.1:{pushed.port}: Address already in use; end the program" in detail
            other.close()
            wait_for(pushed.listens, "the server")
            wait_for(lambda: [name for name, _ in pushed.events] == ["camera_lost", "camera_back"], "the end of it")
        finally:
            pushed.__exit__()


def test_check_waits_for_no_picture(tmp_path):
    """`vigie-agent check` hears whether the port is free, whether anybody may send, and leaves the port free."""
    port = free_port()
    for target, said in ((port, "127.0.0.1:{}"), (f"0.0.0.0:{port}", "0.0.0.0:{}")):
        stream = StreamSettings(name="cam0", source={"push": target}, model="any.onnx")
        found = check.camera(stream, tmp_path / "agent.yaml")
        assert found.ok
        assert found.detail.startswith(f"{said.format(port)} is free to listen on")
        assert ("'token_file' asks for a token" in found.detail) is (target != port)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        found = check.camera(msgspec.structs.replace(stream, source={"push": port}), tmp_path / "agent.yaml")
        assert not found.ok
        assert "Address already in use; end the program that listens there" in found.detail


def test_a_callers_id_is_kept_when_it_is_a_plain_word(pushed):
    assert pushed.push(png(1), **{"X-Request-Id": "till-7:42"})[1]["id"] == "till-7:42"
    for wild in ("a b", "x" * 65, "ü", "<script>"):
        _, answer, headers = pushed.push(png(1), **{"X-Request-Id": wild})
        assert answer["id"] == headers["X-Request-Id"] != wild


def test_a_token_is_asked_for_and_never_logged(tmp_path, caplog):
    (tmp_path / FILE).write_text(f"{TOKEN}\n")
    caplog.set_level("DEBUG")
    with Pushed(tmp_path, free_port(), token_file=FILE) as pushed:
        assert pushed.push(png(1), Authorization=f"Bearer {TOKEN}")[0] == 200
        for wrong in ("", TOKEN, f"Bearer {TOKEN}x", "Bearer ", "Basic eDp5"):
            status, answer, headers = pushed.push(png(1), Authorization=wrong)
            assert (status, headers["Www-Authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer" in answer["error"]
        wait_for(lambda: pushed.requests == {200: 1, 401: 5}, "the counts")
        wait_for(lambda: caplog.text.count(": 401 in ") == 5, "the lines")
    assert TOKEN not in caplog.text


def test_a_token_of_any_letters_is_compared_by_its_bytes(tmp_path):
    token = "ein-Schlüssel-für-Grün"  # noqa: S105  # of this test
    (tmp_path / FILE).write_text(f"{token}\n", encoding="utf-8")
    with Pushed(tmp_path, free_port(), token_file=FILE) as pushed:
        as_sent = f"Bearer {token}".encode().decode("latin-1")  # which is how http.client writes a header's bytes
        assert pushed.push(png(1), Authorization=as_sent)[0] == 200
        assert pushed.push(png(1), Authorization=f"{as_sent}ü")[0] == 401


def test_who_has_no_token_takes_no_memory(tmp_path):
    (tmp_path / FILE).write_text(f"{TOKEN}\n")
    size, connections = 10_000_000, []
    with Pushed(tmp_path, free_port(), token_file=FILE) as pushed, contextlib.ExitStack() as closing:
        assert pushed.push(png(1), Authorization=f"Bearer {TOKEN}")[0] == 200, "all that it imports is in memory"
        before = memory_mb(pushed.capture.pid)
        for number in range(10):
            connection = http.client.HTTPConnection("127.0.0.1", pushed.port, timeout=WAIT_S)
            closing.callback(connection.close)
            connection.putrequest("POST", "/predict")
            connection.putheader("Content-Type", "image/png")
            if number % 2:
                connection.putheader("Content-Length", str(size))
                connection.endheaders(bytes(size - 1))
            else:
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders(b"%x\r\n" % (size - 1) + bytes(size - 1) + b"\r\n")
            connections.append(connection)
        assert pushed.push(png(2), Authorization=f"Bearer {TOKEN}")[0] == 200
        assert memory_mb(pushed.capture.pid) < before + 40, "of 100 MB that were sent"
        for number, connection in enumerate(connections):
            connection.send(b"x" if number % 2 else b"1\r\nx\r\n0\r\n\r\n")
            assert connection.getresponse().status == 401, "once all of it was sent, so that the answer is read"


def memory_mb(pid):
    return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) / 1000


def test_each_request_is_one_line(pushed, caplog):
    caplog.set_level("INFO")
    pushed.answer = lambda frame: {"frame": frame.number, "model": {"name": "m"}, "classes": [{"class": "bus"}]}
    pushed.push(png(1), **{"X-Request-Id": "first"})
    pushed.push(b"hello" * 20, **{"X-Request-Id": "second"})
    lines = wait_for(
        lambda: len(got := [r.message for r in caplog.records if "request " in r.message]) == 2 and got, "it"
    )
    assert lines[0].startswith("cam0: request first: 200 in ")
    assert lines[0].endswith(", frame 1: m: bus")
    assert "request second: 415 in" in lines[1]


@pytest.mark.parametrize("target", ["", "x", "0", "70000", "example.org:80", "1.2.3.4:", "8080x"])
def test_a_target_that_is_no_address_is_refused(target):
    with pytest.raises(ValueError, match="'push' must"):
        resolve({"push": target}, Path("/nowhere"))


def test_addresses(tmp_path):
    def where(target):
        source = push.Push(target, push.Push.Options())
        return source.host, source.port, bool(source.advice())

    assert resolve({"push": 8080}, tmp_path).target == "8080"
    assert where("8080") == ("127.0.0.1", 8080, False)
    assert where(ANY) == (ANY.partition(":")[0], 80, True)
    assert where("[::1]:80") == ("::1", 80, False)
    assert push.Push(ANY, push.Push.Options(token_file=FILE)).advice() == "", "a token is asked for"


def test_without_the_extra_the_configuration_says_what_to_install(monkeypatch):
    monkeypatch.setattr(push, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"needs flask and waitress: pip install 'vigie\[agent,push\]'"):
        resolve({"push": 8080}, Path("/nowhere"))


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("short", "at least 16 characters")])
def test_a_token_file_that_cannot_be_used_is_said(tmp_path, content, said):
    if content:
        (tmp_path / "token").write_text(content)
    with pytest.raises(Lost, match=said):
        resolve({"push": free_port(), "token_file": "token"}, tmp_path).build().__enter__()
