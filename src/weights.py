"""Network weights: found, fetched once, checked, read, and matched with a network's own names."""

import importlib.util
import io
import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from src.errors import InputError

State = dict[str, Tensor]
log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where fetched weights are kept: torch's own cache, so that what is there is used."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(url: str, checksum: str, key: str, *, folder: str = "", notice: str = "") -> Path:
    """The local copy of a file, fetched on first use with a progress bar.

    The file is checked before it gets its name, so a broken download is never taken for weights.

    Args:
        url: the file's address.
        checksum: its SHA-256, hexadecimal; or `md5:` and its MD5, where that is what its authors
            publish.
        key: the configuration key that would take a local copy instead, for the error.
        folder: the one in `cache_folder()` that it goes to, where its name alone says too little.
        notice: logged when it has just been fetched, such as its licence.

    Returns:
        Path of the file in `cache_folder()`.

    Raises:
        InputError: no network, another answer than the file, or a wrong checksum.
    """
    import pooch  # only where something is to be fetched

    name = url.rsplit("/", 1)[-1]
    where = cache_folder() / folder
    kind, _, digest = checksum.rpartition(":")
    pooch.get_logger().setLevel("WARNING")
    there = (where / name).exists()
    try:
        path = pooch.retrieve(
            url,
            known_hash=f"{kind or 'sha256'}:{digest}",
            fname=name,
            path=where,
            progressbar=not there,
        )
    except Exception as error:  # requests' many ways to have no network
        if "known hash" in str(error):  # pooch has no type of its own for it
            raise InputError(
                key,
                f"a file with another checksum from {url}",
                f"{'MD5' if kind == 'md5' else 'SHA-256'} {digest}",
            ) from error
        raise InputError(
            key,
            f"no answer from {url} ({type(error).__name__})",
            f"a network, once, or the {'folder' if folder else 'file'} {folder or name} "
            f"from that address on this machine: {key}=PATH",
        ) from error
    if notice and not there:
        log.warning(notice)
    return Path(path)


def in_package(package: str, file: str) -> Path:
    """A data file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package} is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0]) / file


def read(path: Path, key: str) -> State:
    """The tensors of a weights file by the names they have in it; a number is one of shape ().

    Args:
        path: a torch checkpoint (.pth, .pt, .bin), a safetensors file, or a Keras file (.h5).
        key: the configuration key that named the file, for the error.

    Raises:
        InputError: no such file, or not a file of weights.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise InputError(key, f"{kind}: {path}", "a file of weights")
    try:
        if path.suffix in (".h5", ".hdf5"):
            return _read_keras(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(path.read_bytes())
        with path.open("rb") as file:
            return _read_torch(file)
    except Exception as error:  # torch, zipfile, pickle and h5py each have their own
        raise _unreadable(path, error, key, "a file of weights") from error


def read_from(source: Path, name: str, key: str) -> State:
    """The tensors of a torch checkpoint in a folder or in a ZIP file, which stays as it is.

    Args:
        source: the folder or the ZIP file.
        name: of the checkpoint in it.
        key: the configuration key that named the source, for the error.

    Raises:
        InputError: no such folder or file, no such checkpoint in it, or not one of weights.
    """
    if source.is_dir():
        return read(source / name, key)
    expected = f"a folder or a ZIP file with {name}"
    if not source.is_file():
        raise InputError(key, f"no such file or folder: {source}", expected)
    try:
        with zipfile.ZipFile(source) as archive:
            if name in archive.namelist():
                return _read_torch(io.BytesIO(archive.read(name)))
    except Exception as error:  # torch, zipfile, zlib and pickle each have their own
        raise _unreadable(source, error, key, expected) from error
    raise InputError(key, f"{source}, which has no {name} in it", expected)


def _unreadable(path: Path, error: Exception, key: str, expected: str) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(key, f"{path}, which cannot be read ({reason[:120]})", expected)


def _read_torch(file: BinaryIO) -> State:
    """A torch checkpoint's tensors, and its numbers as tensors; nothing in it is run."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    values = list(state.values()) if isinstance(state, Mapping) else []
    if not any(isinstance(value, Tensor) for value in values) or not all(
        isinstance(value, Tensor | int | float) for value in values
    ):
        raise ValueError("no table of tensors inside")
    return {name: torch.as_tensor(value) for name, value in state.items()}


def _read_keras(path: Path) -> State:
    """Keras weights under torch's names and layout.

    Keras keeps kernels as (H, W, in, out), torch as (out, in, H, W); a tensor's name is that of
    the innermost layer with its graph suffix (`fire2/squeeze1x1_3/kernel:0`).
    """
    import h5py  # only for Keras files

    state: State = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            *_, layer, _ = name.split("/")
            parent = re.search(r"(fire\d+|block\d+)/", name)
            layer = re.sub(r"_\d+$", "", layer)
            if parent and not layer.startswith(parent[1]):
                layer = f"{parent[1]}/{layer}"
            tensor = torch.from_numpy(item[()])
            if tensor.ndim == 4:
                state[f"{layer}.weight"] = tensor.permute(3, 2, 0, 1).contiguous()
            else:
                state[f"{layer}.bias"] = tensor

    with h5py.File(path) as file:
        file.visititems(visit)
    return state


def match(
    state: State, expected: Mapping[str, Tensor], *, ignore: str, key: str, network: str
) -> State:
    """The part of a state that a network takes, every name and shape accounted for.

    Args:
        state: tensors by the network's names.
        expected: the network's own parameters.
        ignore: a regular expression of names that may be left over (a classifier).
        key: the configuration key that named the file, for the error.
        network: what the file should hold, in words.

    Raises:
        InputError: a name that is missing, left over, or of another shape.
    """
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected and not re.match(ignore, name)]
    if missing or extra:
        parts = [f"{len(missing)} missing ({missing[0]} ...)"] if missing else []
        parts += [f"{len(extra)} left over ({extra[0]} ...)"] if extra else []
        raise InputError(key, f"weights of another network: {', '.join(parts)}", network)
    for name, parameter in expected.items():
        if state[name].shape != parameter.shape:
            raise InputError(
                key,
                f"{name} of shape {tuple(state[name].shape)}",
                f"{tuple(parameter.shape)}, as in {network}",
            )
    return {name: state[name].float() for name in expected}
