"""What every test gets: one thread, a seed, no files left in the project; and two helpers."""

import logging
import os
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from src.run import main

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

torch.set_num_threads(1)


def _strict(report: Any) -> Any:
    """With STRICT=1 in the environment, what is skipped has failed: a browser or data is lost."""
    if report.skipped and os.environ.get("STRICT") == "1":
        report.outcome, report.longrepr = "failed", f"STRICT=1, but {report.longrepr[-1]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _strict((yield))


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers for a test, alone or among others."""
    random.seed(0)
    torch.manual_seed(0)


def _results() -> set[str]:
    folders = {path.name for path in ROOT.iterdir() if path.name in ("outputs", "wandb")}
    files = {path.name for kind in ("*.png", "*.ckpt") for path in ROOT.glob(kind)}
    return folders | files


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail if a test writes its results into the project instead of its own folder."""
    before = _results()
    yield
    left = _results() - before
    assert not left, f"tests left {', '.join(sorted(left))} in {ROOT}"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Estimated depths of the tests are not kept among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real pictures and weights beside the project, which no checkout carries."""
    if not DATA.is_dir():
        pytest.skip(f"no folder of test data at {DATA}")
    return DATA


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The real command, in this process."""

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["src.run", *arguments])
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # Hydra sets its own
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, WebGL on the processor; skips where there is none to drive."""
    from playwright import sync_api

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        # No package that `make setup` could bring; with STRICT=1 this is a failure.
        pytest.skip("no chromium is installed")
    flags = "--no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
    with sync_api.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=flags.split())
        yield browser
        browser.close()


@dataclass
class Server:
    """A web server on this machine.

    Attributes:
        url: its address, without a slash at the end.
        folder: what it serves.
        requests: the paths that were asked for.
        answers: status, headers and pieces of the body, by path, where no file is served.
    """

    url: str
    folder: Path
    requests: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, Mapping[str, str], Iterable[bytes]]] = field(default_factory=dict)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server on this machine with a folder of its own."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            asked.requests.append(self.path)
            if self.path not in asked.answers:
                return super().do_GET()
            status, headers, pieces = asked.answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # who asked may have had enough
                for piece in pieces:
                    self.wfile.write(piece)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        asked = Server(f"http://127.0.0.1:{running.server_port}", folder)
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield asked
        running.shutdown()
        thread.join()
