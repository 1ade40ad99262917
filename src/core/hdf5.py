"""HDF5 files, which can refer to other files and declare any size: read without either."""

import math
from pathlib import Path

import numpy as np
from h5py import Dataset, File, Group, HardLink, is_hdf5

from src.core.files import check_decoded_size

__all__ = ["File", "dataset", "dataset_names", "is_hdf5", "read_values"]

MOST_LEVELS = 16  # of groups
MOST_CHUNKS = 100_000  # each of which takes its time


def dataset_names(file: File) -> list[str]:
    """The data sets of a file, links left out; a ValueError where they declare too much in all."""
    found: dict[str, int] = {}
    groups, seen = [file["/"]], {file["/"]}
    while groups:  # HDF5's own walk takes the stack, and quadratic time, where many are nested
        group = groups.pop()
        if group.name.count("/") > MOST_LEVELS:
            raise ValueError(f"groups more than {MOST_LEVELS} deep")
        for name in group:
            if not isinstance(group.get(name, getlink=True), HardLink):
                continue
            item = group[name]
            if isinstance(item, Dataset):
                found[item.name[1:]] = math.prod(item.shape or ()) * item.dtype.itemsize
            elif isinstance(item, Group) and item not in seen:
                groups.append(item)
                seen.add(item)
    check_decoded_size(sum(found.values()) - Path(file.filename).stat().st_size)
    return list(found)


def dataset(file: File, name: str) -> Dataset:
    """A data set of numbers, not yet read; a ValueError where it lies in another file."""
    if not isinstance(file.get(name, getlink=True), HardLink):
        raise ValueError(f"{name}, a link")
    found = file[name]
    if not isinstance(found, Dataset) or found.dtype.kind not in "uif":
        raise ValueError(f"{name} without numbers")
    if found.external or found.is_virtual:
        raise ValueError(f"{name} in another file")
    return found


def read_values(file: File, name: str, index: int | None = None) -> np.ndarray:
    """The numbers of a data set, or those at one index of its first axis.

    Raises:
        ValueError: it is refused by `dataset`, or declares too many.
    """
    stored = dataset(file, name)
    shape = stored.shape if index is None else stored.shape[1:]
    chunk = stored.chunks or stored.shape  # is read whole
    for part in (shape, chunk if stored.chunks else ()):
        check_decoded_size(math.prod(part) * stored.dtype.itemsize)
    chunk = chunk[len(chunk) - len(shape) :]
    if math.prod(-(-n // m) for n, m in zip(shape, chunk, strict=True)) > MOST_CHUNKS:
        raise ValueError(f"{name} in more than {MOST_CHUNKS} pieces")
    values: np.ndarray = stored[() if index is None else index]
    return values
