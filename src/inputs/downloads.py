"""Fetching a file too large to fetch twice: what has come stays, and the rest is asked for.

pooch, which fetches everything else here, starts a broken download from the beginning.
"""

import hashlib
import os
import time
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from src.errors import InputError

CHUNK = 1 << 20  # bytes
SILENCE = 60.0  # seconds without a byte after which the connection counts as broken
ATTEMPTS = 5  # in a row that bring nothing
LONGEST_PAUSE = 30.0  # seconds between them


def fetch(
    url: str,
    path: Path,
    *,
    key: str,
    md5: str,
    progress: Callable[[int, int | None], None] | None = None,
    pause: float = 1.0,
) -> Path:
    """Fetch a file, going on where an earlier attempt broke off, and check it.

    What has come is kept beside `path` with `.part` at the end; `path` itself appears only when
    all of it is there and its checksum is right.

    Args:
        url: where it is.
        path: where it goes; its folder must exist. If it is there already, it is only checked.
        key: the configuration key or option to name in errors.
        md5: checksum, in hexadecimal: against damage, not against forgery.
        progress: called with the bytes that are there and, where known, all of them.
        pause: seconds before the second attempt; doubles with every further one.

    Raises:
        InputError: no connection after several attempts, a refusal, a wrong checksum, or a full
            disk.
    """
    if path.exists():
        _check(path, url, key, md5)
        return path
    part = path.with_name(path.name + ".part")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _append(url, part, progress):
                break
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                got = f"'{error.code} {error.reason}' from {url}"
                raise InputError(key, got, "a file there") from error
            reason = f"{error.code} {error.reason}"
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except OSError as error:
            raise InputError(key, f"'{part}' ({error.strerror})", "room to write") from error
        came = part.exists() and part.stat().st_size > before
        failures = 1 if came else failures + 1
        if failures >= ATTEMPTS:
            raise InputError(
                key,
                f"no answer from {url} ({reason})",
                f"a network; the same command goes on with the {before:,} bytes that are there",
            )
        time.sleep(min(pause * 2 ** (failures - 1), LONGEST_PAUSE))
    _check(part, url, key, md5)
    os.replace(part, path)
    return path


def _append(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> bool:
    """Ask for what is missing and append what comes; True when nothing is missing any more."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        answer = urllib.request.urlopen(request, timeout=SILENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416 and there:  # nothing after what is there: it was all
            error.close()
            return True
        raise
    with answer:
        start, total = _extent(answer)
        if start == 0:  # a server that ignores ranges sends everything again
            there = 0
        elif start != there:
            raise HTTPException(f"bytes from {start}, where {there} was asked for")
        with part.open("ab" if there else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                there += len(chunk)
                if progress is not None:
                    progress(there, total)
    return total is None or there >= total


def _extent(answer: urllib.response.addinfourl) -> tuple[int, int | None]:
    """Where the answer's bytes begin in the file, and how many the whole file has."""
    said = answer.headers.get("Content-Range", "")
    if answer.status == 206 and said.startswith("bytes "):
        span, _, total = said[6:].partition("/")
        return int(span.partition("-")[0]), int(total) if total.isdigit() else None
    length = answer.headers.get("Content-Length")
    return 0, int(length) if length else None


def _check(path: Path, url: str, key: str, md5: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found == md5:
        return
    if path.suffix == ".part":
        path.unlink()  # or the next attempt would append to it
        raise InputError(key, f"a damaged file from {url}", "the whole file: please try again")
    raise InputError(key, f"'{path}', whose MD5 is {found}", f"the file of {url}: MD5 {md5}")
