"""Downloads against a local server that breaks connections, ignores ranges, refuses and lies."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.errors import InputError
from src.inputs import downloads

DATA = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
MD5 = hashlib.md5(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """A server of one file, with faults."""

    daemon_threads = False  # so that closing waits for them

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.asked: list[str | None] = []  # the ranges, in order
        self.breaks: list[int] = []  # after how many bytes each of the next connections breaks
        self.ranges = True
        self.codes: list[int] = []  # status of each of the next answers
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.mat"

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.codes:
            self.send_error(server.codes.pop(0))
            return
        start = 0
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.data):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(server.data) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(server.data)}")
        else:
            self.send_response(200)
        body = server.data[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def fetch(server: Server, path: Path, md5: str = MD5, **how: Any) -> Path:
    return downloads.fetch(server.url, path, key="out", md5=md5, pause=0.001, **how)


def test_a_whole_file(server: Server, tmp_path: Path) -> None:
    said: list[tuple[int, int | None]] = []
    path = fetch(server, tmp_path / "a", progress=lambda *n: said.append(n))
    assert path.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [path]
    assert server.asked == [None]
    assert said[-1] == (len(DATA), len(DATA))
    assert [n for n, _ in said] == sorted(n for n, _ in said)


def test_broken_connections_are_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.breaks = [1_000_000, 500_000, 0, 700_000]
    assert fetch(server, tmp_path / "a").read_bytes() == DATA
    assert server.asked == [None] + [
        f"bytes={n}-" for n in (1_000_000, 1_500_000, 1_500_000, 2_200_000)
    ]


def test_a_connection_that_breaks_often_but_brings_something(
    server: Server, tmp_path: Path
) -> None:
    server.breaks = [200_000] * 3 * downloads.ATTEMPTS
    assert fetch(server, tmp_path / "a").read_bytes() == DATA


def test_an_earlier_attempt_is_gone_on_from(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(DATA[:1234])
    assert fetch(server, tmp_path / "a").read_bytes() == DATA
    assert server.asked == ["bytes=1234-"]


def test_an_earlier_attempt_that_was_complete(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(DATA)
    assert fetch(server, tmp_path / "a").read_bytes() == DATA


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.breaks = [1_000_000]
    assert fetch(server, tmp_path / "a").read_bytes() == DATA


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.codes = [503, 500]
    assert fetch(server, tmp_path / "a").read_bytes() == DATA


def test_a_refusal_is_final(server: Server, tmp_path: Path) -> None:
    server.codes = [404]
    with pytest.raises(InputError, match="404") as caught:
        fetch(server, tmp_path / "a")
    assert caught.value.key == "out"
    assert len(server.asked) == 1
    assert not (tmp_path / "a").exists()


def test_a_damaged_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.data = DATA[:-1] + b"?"
    with pytest.raises(InputError, match="damaged"):
        fetch(server, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    fetch(server, tmp_path / "a")
    assert server.asked == []
    with pytest.raises(InputError, match="MD5"):
        fetch(server, tmp_path / "a", md5="0" * 32)
    assert (tmp_path / "a").exists()  # it may be someone's


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    (tmp_path / "a.part").write_bytes(b"12345")
    with pytest.raises(InputError, match="goes on with the 5 bytes") as caught:
        fetch(server, tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a.part").read_bytes() == b"12345"


def test_a_server_that_only_breaks(server: Server, tmp_path: Path) -> None:
    server.breaks = [0] * 99
    with pytest.raises(InputError, match="no answer"):
        fetch(server, tmp_path / "a")
    assert len(server.asked) == downloads.ATTEMPTS


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="room to write"):
        fetch(server, tmp_path / "no folder" / "a")
