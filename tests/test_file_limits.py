"""Small files that declare gigabytes, and files that refer to others: one line, and no memory."""

import io
import re
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import OpenEXR
import pytest
import tifffile
import torch
from PIL import EpsImagePlugin, Image

from src.core import hdf5, images, weights
from src.core.errors import InputError
from src.core.files import MOST_DECODED, check_decoded_size
from src.gallery.thumbnails import make_thumbnails
from src.inputs import depth_files, nyu, pictures, xmp
from src.inputs.scenes import load_scene
from tests import phone_files as phone

SRC = Path(__file__).parent.parent / "src"
HUGE = 60_000  # pixels a side
MOST_MEMORY = 30_000_000  # bytes, of what reads a file to refuse it


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY


def png(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG of a size, without most of its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def tiff(**tags: int) -> bytes:
    """A TIFF of float64, which only tifffile reads, with other numbers in its tags."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.ones((32, 32)), tile=(16, 16), compression="zlib")
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as whole:
        for name, value in tags.items():
            tag = whole.pages.first.tags[name]
            struct.pack_into("<H" if tag.dtype == 3 else "<I", data, tag.valueoffset, value)
    return bytes(data)


def hdf5_file(make: Callable[[h5py.File], Any]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        make(out)
    return file.getvalue()


def mat(side: int, **how: Any) -> bytes:
    def make(file: h5py.File) -> None:
        file.create_dataset("images", (2, 3, side, side), "u1", **how)
        file.create_dataset("depths", (2, side, side), "f4", **how)

    return hdf5_file(make)


def exr() -> bytes:
    """An EXR whose data window is huge."""
    path = Path("small.exr")
    OpenEXR.File({}, {"Z": np.ones((4, 6), np.float32)}).write(str(path))
    window = struct.pack("<4i", 0, 0, 5, 3)
    data = path.read_bytes()
    assert data.count(window) == 2
    return data.replace(window, struct.pack("<4i", 0, 0, HUGE, HUGE))


def npz(name: str = "depth.npy") -> bytes:
    """An archive of 20 KB that holds 20 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(20_000_000))
    return file.getvalue()


def overlapping() -> bytes:
    """A JPEG whose index names most of the file three hundred times."""
    count, size = 300, 12
    index = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHII", 0xB002, 7, 16 * count, 26)
    index += struct.pack("<I", 0) + struct.pack("<IIIHH", 0, 2**20, 0, 0, 0) * count
    jpeg = phone.with_segments(phone.photo(), phone.segment(0xE2, b"MPF\0" + index))
    return jpeg + bytes(2**20 + size)


PICTURES = {
    "png": partial(png, HUGE, HUGE),
    "png16": partial(png, 10_000, 10_000, 16),
    "png16_alpha": partial(png, 9_000, 9_000, 16, 6),
    "ppm": lambda: b"P6 %d %d 255\n" % (HUGE, HUGE) + bytes(100),
    "bmp": lambda: phone.encode(np.zeros((8, 8, 3), np.uint8), "BMP").replace(
        struct.pack("<ii", 8, 8), struct.pack("<ii", HUGE, HUGE)
    ),
    "gif": lambda: b"GIF89a" + struct.pack("<HH", HUGE, HUGE) + bytes(3) + b"," + bytes(20),
}
DEPTH = {
    "tiff": lambda: tiff(ImageWidth=HUGE, ImageLength=HUGE),
    "tiff_tile": lambda: tiff(TileWidth=HUGE - HUGE % 16, TileLength=HUGE - HUGE % 16),
    "png16": partial(png, 20_000, 20_000, 16, 0),
    "exr": exr,
}


def refusal(read: Callable[[], Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError) as caught:
            read()
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "file"


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_that_declares_too_much(kind: str, file: Path) -> None:
    file.write_bytes(PICTURES[kind]())
    line = refusal(lambda: pictures.read(file, key="content", size=32))
    assert line.startswith(f"content: got '{file}', which cannot be read (")
    assert re.search(r"MB when decoded, more than 537|exceeds limit", line)


@pytest.mark.parametrize("kind", DEPTH)
def test_a_depth_file_that_declares_too_much(kind: str, file: Path) -> None:
    file.write_bytes(DEPTH[kind]())
    line = refusal(lambda: depth_files.read(file))
    assert re.search(r"MB when decoded, more than 537|exceeds limit", line)


def test_a_phones_pictures_that_overlap(file: Path) -> None:
    file.write_bytes(overlapping())
    line = refusal(lambda: load_scene(file, size=32))
    assert "whose depth cannot be read (an index of pictures that overlap)" in line


@pytest.mark.parametrize("how", [{"chunks": True}, {}])
def test_a_mat_file_that_declares_too_much(how: dict[str, Any], file: Path) -> None:
    file.write_bytes(mat(HUGE, **how))
    assert "MB when decoded" in refusal(lambda: nyu.read_mat(file))


def test_a_chunk_counts_as_a_whole(file: Path) -> None:
    def make(out: h5py.File) -> None:
        out.create_dataset("a", (9, 9), "f4", chunks=(9, 9), maxshape=(None, None))
        out.create_dataset("b", (1, 4), "f8", chunks=(2**13, 2**13 + 1), maxshape=(None, None))

    file.write_bytes(hdf5_file(make))
    with hdf5.File(file) as opened:
        assert hdf5.read_values(opened, "a").shape == (9, 9)
        with pytest.raises(ValueError, match="MB when decoded"):
            hdf5.read_values(opened, "b")


@pytest.mark.parametrize(
    ("count", "values", "words"),
    [(1, 2**28, "MB when decoded"), (40, 2**22, "MB when decoded"), (1, 2**20, "100000 pieces")],
)
def test_weights_that_declare_too_much(count: int, values: int, words: str, tmp_path: Path) -> None:
    def make(out: h5py.File) -> None:
        for i in range(count):
            out.create_dataset(f"fire{i}/x/kernel:0", (values,), "f4", chunks=(1,))

    (tmp_path / "w.h5").write_bytes(hdf5_file(make))
    assert words in refusal(lambda: weights.read(tmp_path / "w.h5", "backbone.weights"))


def test_archives_that_declare_too_much(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.core.files.MOST_DECODED", 10_000_000)
    file.write_bytes(npz())
    assert "MB when decoded" in refusal(lambda: depth_files.read(file))
    file.write_bytes(npz("net.pth"))
    assert "MB when decoded" in refusal(lambda: weights.read_from(file, "net.pth", "x"))
    file.write_bytes(npz("archive/data/0"))
    assert "MB when decoded" in refusal(lambda: weights.read(file, "x"))


def test_of_a_large_set_only_the_pieces_of_one_image_count(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as out:
        images = out.create_dataset("images", (500_000, 2), "u1", chunks=(1, 1))
        images[7] = [3, 4]
    with hdf5.File(tmp_path / "a.mat") as file:
        assert hdf5.read_values(file, "images", 7).tolist() == [3, 4]
        with pytest.raises(ValueError, match="in more than 100000 pieces"):
            hdf5.read_values(file, "images")


def test_groups_without_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as out:
        out["fire1/x/kernel:0"] = np.ones(3)
        out["fire1/x/again"] = out["/"]  # a circle
        out["fire1/y"] = h5py.SoftLink("/fire1/x")
    assert list(weights.read(tmp_path / "w.h5", "x")) == ["fire1/x.bias"]
    with h5py.File(tmp_path / "w.h5", "w") as out:
        out.create_group("/".join("a" * 200))
    assert "groups more than 16 deep" in refusal(lambda: weights.read(tmp_path / "w.h5", "x"))


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_that_take_no_room_in_a_file(kind: str, tmp_path: Path) -> None:
    shape = (10**6, 10**6)
    made = torch.empty(shape, device="meta")
    if kind == "sparse":
        made = torch.sparse_coo_tensor(
            torch.zeros(2, 1, dtype=torch.long), torch.ones(1), shape, check_invariants=True
        )
    torch.save({"a": made}, tmp_path / "w.pth")
    assert "x: got " in refusal(lambda: weights.read(tmp_path / "w.pth", "x"))


def test_a_side_that_makes_a_picture_endless() -> None:
    with pytest.raises(InputError, match=r"^short_side: got 512 for a picture of 60000 x 8 pixels"):
        images.fit(8, 60_000, short_side=512)
    assert images.fit(8, 60_000, size=512) == (1, 512)


def test_an_extension_is_joined_once(file: Path) -> None:
    """However many packets name it."""
    guid = b"0" * 32
    extension = b"<x>" + b" " * 40_000 + b"</x>"
    name = b'<x xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="' + guid + b'"/>'
    piece = phone.EXTENSION + guid + struct.pack(">II", len(extension), 0) + extension
    packets = [phone.segment(0xE1, phone.XMP + name) for _ in range(300)]
    jpeg = phone.with_segments(phone.photo(), phone.segment(0xE1, piece), *packets)
    assert len(xmp.packets(jpeg)) == 301


def links(file: h5py.File, kind: str, secret: Path) -> None:
    for name, shape in (("images", (1, 3, 8, 8)), ("depths", (1, 8, 8))):
        if kind == "external storage":
            file.create_dataset(name, shape, "u1", external=[(str(secret), 0, 1000)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, "u1")
            layout[:] = h5py.VirtualSource(str(secret), "x", shape)
            file.create_virtual_dataset(name, layout)
        elif kind == "external link":
            file[name] = h5py.ExternalLink(str(secret), name)
        else:
            file.create_dataset(name, shape, h5py.ref_dtype)


@pytest.mark.parametrize("name", ["images", "depths", "rawDepths"])
def test_what_a_link_names_is_not_even_opened(name: str, tmp_path: Path) -> None:
    """It could be a pipe that nobody writes to."""
    with h5py.File(tmp_path / "a.mat", "w") as out:
        out["images"], out["depths"] = np.zeros((1, 3, 8, 8), "u1"), np.ones((1, 8, 8), "f4")
        out.pop(name, None)
        out[name] = h5py.ExternalLink("nowhere", name)
    assert f"{name}, a link" in refusal(lambda: nyu.read_mat(tmp_path / "a.mat"))


@pytest.mark.parametrize("kind", ["external storage", "virtual", "external link", "references"])
def test_hdf5_does_not_read_other_files(kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(mat(8))
    with h5py.File(tmp_path / "a.mat", "w") as out:
        links(out, kind, tmp_path / "secret")
    assert refusal(lambda: nyu.read_mat(tmp_path / "a.mat")).startswith("content: got ")
    with h5py.File(tmp_path / "a.h5", "w") as out:
        links(out.create_group("fire1"), kind, tmp_path / "secret")
    if kind == "external link":
        assert weights.read(tmp_path / "a.h5", "x") == {}  # links are not followed
    else:
        assert refusal(lambda: weights.read(tmp_path / "a.h5", "x")).startswith("x: got ")


def test_pictures_are_opened_in_one_place_by_a_closed_list() -> None:
    found = [path for path in SRC.rglob("*.py") if "Image.open(" in path.read_text()]
    assert [path.name for path in found] == ["images.py"]
    assert "EPS" not in images.FORMATS


def test_a_postscript_file_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any) -> None:
        pytest.fail("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    file = tmp_path / "pastiche.png"
    Image.new("RGB", (16, 16)).save(file, "EPS")
    assert make_thumbnails([file], tmp_path / "thumbnails", tmp_path) == [None]
    with pytest.raises(OSError, match="cannot identify"):
        images.load_png(file)


def test_the_limit_is_that_of_what_is_decoded() -> None:
    check_decoded_size(MOST_DECODED)
    with pytest.raises(ValueError, match="537 MB when decoded, more than 537"):
        check_decoded_size(MOST_DECODED + 1)


def test_large_pictures_of_sixteen_bits_are_what_small_ones_are(tmp_path: Path) -> None:
    """They are shrunk early, to twice the size asked for."""
    pixels = np.linspace(0, 65535, 96 * 64 * 3).reshape(64, 96, 3).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    image = pictures.read(tmp_path / "a.tif", key="content", size=12).image
    expected = torch.from_numpy(pixels / 65535).permute(2, 0, 1)[None].float()
    assert torch.allclose(image, images.resize(expected, 8, 12), atol=0.02)
