"""Commands as processes of their own, one at a time: started, found again, stopped, waited for."""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from src.core.files import write_json
from src.runs.reader import read_json

LOG = "log.txt"  # of the last command
PAUSE = 0.3  # seconds between looks at the process and the queue
TAIL = 4096  # bytes of the log


@dataclass(frozen=True)
class Process:
    """The command that is running."""

    words: list[str]  # after `python -m`
    number: int  # of the process
    began: float  # seconds since 1970


class Queue:
    """The commands of one outputs folder, from which runs go on when the page's process ends.

    What waits is a file each. A command holds the lock of `running.json` until it ends, by the open
    file that it inherits, whoever looks on: so the page's next process finds it, and two processes
    of a page never start two.
    """

    def __init__(self, outputs: Path) -> None:
        self._folder = outputs / "studio"
        self._running = self._folder / "running.json"
        self._waiting = self._folder / "queue"
        self._child: subprocess.Popen[bytes] | None = None
        self.current: Process | None = None

    def start(self) -> None:
        """Start what waits from now on, each when the one before has ended."""
        threading.Thread(target=self._work, daemon=True).start()

    def add(self, *words: str) -> None:
        """Start `python -m WORDS`, or let it wait for those before it."""
        self._waiting.mkdir(parents=True, exist_ok=True)
        write_json(self._waiting / f"{time.time_ns()}.json", words)

    def waiting(self) -> list[list[str]]:
        """The commands to come, in their order."""
        return [found for _, found in self._read()]

    def stop(self) -> None:
        """Ask the command to end and to write what is there; forget what waits."""
        for file, _ in self._read():
            file.unlink(missing_ok=True)
        if self.current is not None:
            with suppress(ProcessLookupError):
                os.kill(self.current.number, signal.SIGINT)

    def progress(self) -> tuple[int, int, int] | None:
        """Steps done, steps in all, seconds left, as the command says it."""
        for line in reversed(self._last_lines() if self.current else []):
            if found := re.search(r" (\d+)/(\d+), (\d+) s left", line):
                done, steps, seconds = map(int, found.groups())
                return done, steps, seconds
        return None

    def problem(self) -> str:
        """Why the last command failed, in one line; empty where it did not."""
        lines = [] if self.current else self._last_lines()
        if lines and lines[-1] == "KeyboardInterrupt":
            return "the last command was stopped before it began"
        found = (line for line in reversed(lines) if line.startswith("error: "))
        return next((f"the last command failed: {line}" for line in found), "")

    def turn(self) -> None:
        """Look whether a command is running, and start the next if none is."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        with self._running.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with suppress(TypeError):  # not written yet
                    self.current = Process(**read_json(self._running))
                return
            self.current = None
            file.truncate(0)
            for waiting, words in self._read()[:1]:
                waiting.unlink()
                self.current = self._start(words, file.fileno())
                file.write(json.dumps(asdict(self.current)))

    def _work(self) -> None:
        while True:
            with suppress(OSError):  # a full disk: it may have room later
                self.turn()
            time.sleep(PAUSE)

    def _start(self, words: Sequence[str], lock: int) -> Process:
        with (self._folder / LOG).open("wb") as log:
            log.write(f"python -m {shlex.join(words)}\n".encode())
            log.flush()
            self._child = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C in the page's terminal is not for it
            )
        return Process(list(words), self._child.pid, time.time())

    def _read(self) -> list[tuple[Path, list[str]]]:
        found = []
        for file in sorted(self._waiting.glob("*.json")):
            with suppress(OSError, ValueError):  # taken in between
                found.append((file, [str(word) for word in json.loads(file.read_text())]))
        return found

    def _last_lines(self) -> list[str]:
        with suppress(OSError), (self._folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read().decode(errors="replace").splitlines()
        return []
