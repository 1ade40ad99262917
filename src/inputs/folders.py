"""Folders: the pictures in one, and the pictures that have a depth file beside them."""

import re
from pathlib import Path

from src.inputs.pictures import SUFFIXES

RGB_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".tif", ".tiff"}
DEPTH_SUFFIXES = {".png", ".npy", ".npz", ".exr", ".tif", ".tiff", ".pgm", ".pfm"}
RGB_MARK = re.compile(r"[_.-](rgb|image|color|colour)$", re.IGNORECASE)
DEPTH_MARK = re.compile(r"[_.-]?(depth|disparity|disp)$", re.IGNORECASE)


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder by name; hidden ones are left out."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def depth_files_in(folder: Path) -> list[Path]:
    """The files of a folder that can hold depth, by name; hidden ones are left out."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in DEPTH_SUFFIXES)
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def find_rgbd_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """{name: (picture, depth file)} in a folder and below, in the order of the pictures' paths.

    A depth file has the picture's name without `_rgb`, `_image` or `_color`, alone, with `_depth`,
    `_disparity` or `_disp` behind it, or in a folder of that name beside the picture's. The name
    here is NAME of NAME_rgb.png, with its folder below `folder` before it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    depths: dict[tuple[Path, str], Path] = {}
    marked: set[Path] = set()
    for path in files:
        if path.suffix.lower() not in DEPTH_SUFFIXES:
            continue
        key = (path.parent, DEPTH_MARK.sub("", path.stem))
        if DEPTH_MARK.fullmatch(path.parent.name):
            key = (path.parent.parent, path.stem)
        if key == (path.parent, path.stem):
            depths.setdefault(key, path)
        else:
            depths[key] = path
            marked.add(path)
    pairs: dict[str, tuple[Path, Path]] = {}
    for path in files:
        if path.suffix.lower() not in RGB_SUFFIXES or path in marked:
            continue
        stem = RGB_MARK.sub("", path.stem)
        for key in ((path.parent, stem), (path.parent.parent, path.stem)):
            depth = depths.get(key, path)
            # Beside a PNG of the same name, the picture is the one that is no PNG.
            if depth in marked or (depth != path and path.suffix.lower() != ".png"):
                name = (path.parent / stem).relative_to(folder).as_posix()
                name = path.relative_to(folder).as_posix() if name in pairs else name
                pairs[name] = path, depth
                break
    return pairs
