"""Network weights: fetched once, checked, read, and matched with a network's own names."""

import importlib.util
import io
import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from src.core.errors import InputError
from src.core.files import DownloadError, check_decoded_size, download

State = dict[str, Tensor]
log = logging.getLogger(__name__)


def fetch(
    url: str, checksum: str, key: str, folder: str = "", cache: Path | None = None, notice: str = ""
) -> Path:
    """The local copy of a file, fetched on first use with a progress bar.

    `checksum` is its SHA-256, or `md5:` and its MD5. `key` would take a local copy instead: for the
    InputError where there is no network, another file, or no room. It is kept in `cache` (or else
    in torch's own, so that what is there is used), in a `folder` where its name alone says too
    little. `notice`, such as its licence, is logged when it has just been fetched.
    """
    name = url.rsplit("/", 1)[-1]
    path = (cache or Path(torch.hub.get_dir()) / "checkpoints") / folder / name
    kind, _, digest = checksum.rpartition(":")
    try:
        is_new = download(url, f"{kind or 'sha256'}:{digest}", path)
    except DownloadError as error:
        local = f"the folder {folder}" if folder else f"the file {name}"
        expected = f"{error.expected}, or {local} from that address on this machine: {key}=PATH"
        raise InputError(key, error.got, expected) from error
    if notice and is_new:
        log.warning(notice)
    return path


def in_package(package: str, file: str) -> Path:
    """A data file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package} is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0]) / file


def read(path: Path, key: str) -> State:
    """The tensors of a weights file by the names they have in it; a number is one of shape ().

    A torch checkpoint (.pth, .pt, .bin), a safetensors file, or a Keras file (.h5); an InputError
    with `key` where it is none of them.
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
        return _read_torch(path)
    except Exception as error:  # torch, zipfile, pickle and h5py each have their own
        raise _unreadable(path, error, key, "a file of weights") from error


def read_from(source: Path, name: str, key: str) -> State:
    """The tensors, as in `read`, of a torch checkpoint in a folder or in a packed ZIP file."""
    if source.is_dir():
        return read(source / name, key)
    expected = f"a folder or a ZIP file with {name}"
    if not source.is_file():
        raise InputError(key, f"no such file or folder: {source}", expected)
    try:
        with zipfile.ZipFile(source) as archive:
            if name in archive.namelist():
                check_decoded_size(archive.getinfo(name).file_size)
                return _read_torch(io.BytesIO(archive.read(name)))
    except Exception as error:  # torch, zipfile, zlib and pickle each have their own
        raise _unreadable(source, error, key, expected) from error
    raise InputError(key, f"{source}, which has no {name} in it", expected)


def _unreadable(path: Path, error: Exception, key: str, expected: str) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(key, f"{path}, which cannot be read ({reason[:120]})", expected)


def _read_torch(file: Path | io.BytesIO) -> State:
    """A torch checkpoint's tensors, and its numbers as tensors; nothing in it is run."""
    if zipfile.is_zipfile(file):  # whose parts can be compressed, as no checkpoint's are
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
        check_decoded_size(sum(part.file_size - part.compress_size for part in parts))
    if isinstance(file, io.BytesIO):
        file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    values = list(state.values()) if isinstance(state, Mapping) else []
    tensors = [value for value in values if isinstance(value, Tensor)]
    numbers = [value for value in values if isinstance(value, int | float)]
    plain = all(x.is_cpu and x.layout == torch.strided and not x.is_quantized for x in tensors)
    if not tensors or not plain or len(tensors) + len(numbers) < len(values):
        raise ValueError("no table of tensors inside")
    return {name: torch.as_tensor(value) for name, value in state.items()}


def _read_keras(path: Path) -> State:
    """Keras weights (`fire2/squeeze1x1_3/kernel:0`) under torch's names and in its layout."""
    from src.core import hdf5  # only for Keras files

    state: State = {}
    with hdf5.File(path) as file:
        for name in hdf5.dataset_names(file):
            layer = re.sub(r"_\d+$", "", name.split("/")[-2])
            parent = re.search(r"(fire\d+|block\d+)/", name)
            if parent and not layer.startswith(parent[1]):
                layer = f"{parent[1]}/{layer}"
            tensor = torch.from_numpy(hdf5.read_values(file, name))
            if tensor.ndim == 4:
                state[f"{layer}.weight"] = tensor.permute(3, 2, 0, 1).contiguous()
            else:
                state[f"{layer}.bias"] = tensor
    return state


def match(
    state: State, expected: Mapping[str, Tensor], *, ignore: str, key: str, network: str
) -> State:
    """The part of a state that a network takes: `expected`, its own parameters, as float32.

    An InputError with `key` where a name is missing, of another shape, or left over and not matched
    by the regular expression `ignore`; `network` is what the file should hold, in words.
    """
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected and not re.match(ignore, name)]
    if missing or extra:
        parts = [f"{len(missing)} missing ({missing[0]} ...)"] if missing else []
        parts += [f"{len(extra)} left over ({extra[0][:80]} ...)"] if extra else []
        raise InputError(key, f"weights of another network: {', '.join(parts)}", network)
    for name, parameter in expected.items():
        if state[name].shape != parameter.shape:
            got = f"{name} of shape {tuple(state[name].shape)}"
            raise InputError(key, got, f"{tuple(parameter.shape)}, as in {network}")
    return {name: state[name].float() for name in expected}
