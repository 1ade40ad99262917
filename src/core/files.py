"""Files: written whole or not at all, fetched once and checked, told from later ones."""

import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

MOST_DECODED = 2**29  # bytes: what Pillow, too, takes at most for an RGB picture
LARGEST_DOWNLOAD = 4 * 10**9  # bytes; NYU Depth v2 has 3e9


def check_decoded_size(size: int) -> None:
    """Refuse by a ValueError, before it is made room for, what declares to be so many bytes."""
    if size > MOST_DECODED:
        raise ValueError(f"{size / 1e6:,.0f} MB when decoded, more than {MOST_DECODED / 1e6:.0f}")


def read_regular(path: Path, most: int) -> bytes:
    """A file's bytes; an OSError where it is a link, a pipe or a device, or of more than `most`."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            raise OSError(f"no regular file of at most {most:,} bytes")
        return file.read(most)


@cache  # once per folder: a page's has a thousand files
def _remove_old_parts(folder: Path) -> None:
    """Remove the parts of writers that were killed: none takes an hour."""
    for part in folder.glob(f".*.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError):
            if time.time() - part.lstat().st_mtime > 3600:
                part.unlink()


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `path` when the block ends, unless it raises."""
    _remove_old_parts(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # never through a link
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replace_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with a newline at the end, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


class DownloadError(OSError):
    """A file could not be fetched: `got` is what happened instead, `expected` what would help."""

    def __init__(self, got: str, expected: str) -> None:
        super().__init__(got)
        self.got, self.expected = got, expected


def download(url: str, checksum: str, path: Path, most: int = LARGEST_DOWNLOAD) -> bool:
    """Fetch a file on first use; a file that is there is only checked. Whether it was not there.

    It is checked before it gets its name, so a broken download is never taken for it. `checksum` is
    `sha256:` or `md5:` and the digest in hexadecimal; an answer ends at `most` bytes, whatever its
    headers say. A failure is a DownloadError.
    """
    import pooch  # 0.2 s, and only where something is to be fetched
    import requests

    pooch.get_logger().setLevel("WARNING")
    try:
        is_new = not path.exists()
        pooch.retrieve(url, checksum, path.name, path.parent, downloader=partial(_stream, most))
    except DownloadError:
        raise
    except Exception as error:  # no network has many names, and so has a full disk
        reason = getattr(error, "strerror", None) or type(error).__name__
        got, expected = f"no answer from {url} ({reason})", "a network, once"
        if "known hash" in str(error):  # pooch has no type of its own for it
            got, expected = f"a file with another checksum from {url}", f"one with {checksum}"
        elif isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            got = f"the folder {path.parent}, which cannot be written ({reason})"
            expected = "a folder to write to, with room for the file"
        raise DownloadError(got, expected) from error
    return is_new


def _stream(most: int, url: str, part: str, _: object) -> None:
    """Write what an address answers to a file; pooch's own downloader trusts its length."""
    import requests
    from tqdm import tqdm

    with requests.get(url, stream=True, timeout=30) as answer, open(part, "wb") as file:
        answer.raise_for_status()
        length = answer.raw.length_remaining  # None where the header is no number
        with tqdm(total=length, ncols=79, unit="B", unit_scale=True) as bar:
            for chunk in answer.iter_content(2**16):
                bar.update(file.write(chunk))
                if file.tell() > most:
                    got = f"more than {most / 1e6:,.0f} MB from {url}"
                    raise DownloadError(got, "the file that was published there")


def user_cache() -> Path:
    """The folder in which this program keeps what it fetches, other than weights."""
    import pooch

    return Path(pooch.os_cache("depth-style-transfer"))


Signature = tuple[str, int, int] | str | None


def file_signature(path: str | Path | None) -> Signature:
    """What tells a file from a later one of the same name; a built-in name is its own signature."""
    if path is None:
        return None
    file = Path(path).expanduser()
    try:
        status = file.stat()
    except (OSError, ValueError):
        return str(path)
    return str(file.absolute()), status.st_size, status.st_mtime_ns
