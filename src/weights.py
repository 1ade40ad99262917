"""Network weights: found, fetched once, checked, read, and matched with a network's own names."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from src.errors import InputError

State = dict[str, Tensor]


def cache_folder() -> Path:
    """Where fetched weights are kept: torch's own cache, so that what is there is used."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(url: str, sha256: str, key: str) -> Path:
    """The local copy of a file, fetched on first use with a progress bar.

    The file is checked before it gets its name, so a broken download is never taken for weights.

    Args:
        url: the file's address.
        sha256: its checksum, hexadecimal.
        key: the configuration key that would take a local copy instead, for the error.

    Returns:
        Path of the file in `cache_folder()`.

    Raises:
        InputError: no network, another answer than the file, or a wrong checksum.
    """
    import pooch  # only where something is to be fetched

    name = url.rsplit("/", 1)[-1]
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=name,
            path=cache_folder(),
            progressbar=not (cache_folder() / name).exists(),
        )
    except Exception as error:  # requests' many ways to have no network
        if "known hash" in str(error):  # pooch has no type of its own for it
            raise InputError(
                key, f"a file with another checksum from {url}", f"SHA-256 {sha256}"
            ) from error
        raise InputError(
            key,
            f"no answer from {url} ({type(error).__name__})",
            f"a network, once, or the file {name} from that address on this machine: {key}=PATH",
        ) from error
    return Path(path)


def in_package(package: str, file: str) -> Path:
    """A data file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package} is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0]) / file


def read(path: Path, key: str) -> State:
    """The tensors of a weights file by the names they have in it.

    Args:
        path: a torch checkpoint (.pth, .pt, .bin) or a Keras file (.h5).
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
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping) or not all(
            isinstance(value, Tensor) for value in state.values()
        ):
            raise ValueError("no table of tensors inside")
        return dict(state)
    except Exception as error:  # torch, zipfile, pickle and h5py each have their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            key, f"{path}, which cannot be read ({reason[:120]})", "a file of weights"
        ) from error


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
