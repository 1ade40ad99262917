"""Depth Anything V2 (Yang et al. 2024, arXiv 2406.09414) as kept by the package transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.core import weights as files
from src.core.errors import InputError
from src.depth_nets.network import KEY, DepthNet

NAME = "Depth Anything V2"
FOLDER = "Depth-Anything-V2-Small-hf"  # in the cache, whose files have names that say nothing
FILES = ("config.json", "model.safetensors")
PATCH = 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DepthAnything(DepthNet):
    """Depth Anything, with its own preprocessing as differentiable tensor code."""

    smallest_side = PATCH

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__(module, f"{NAME} at {size} px")
        self._size = size

    def resized_input(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of its input; the side becomes `size` that has to change least."""
        scale = min((self._size / height, self._size / width), key=lambda scale: abs(1 - scale))
        patches = (max(1, round(side * scale / PATCH)) for side in (height, width))
        new_height, new_width = (PATCH * count for count in patches)
        return new_height, new_width

    def preprocess(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 3, h, w): bicubic, antialiased, ImageNet's mean and std.

        Nothing is rounded to 8 bits or cut off as in the library, for the gradient's sake.
        """
        size = self.resized_input(*image.shape[-2:])
        resized = F.interpolate(image, size, mode="bicubic", antialias=True)
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        return (resized - mean) / std

    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """What the library calls `predicted_depth`: (B, 1, H, W) from 0 up, larger is nearer."""
        output = self.module(pixel_values=self.preprocess(image)).predicted_depth.unsqueeze(1)
        return F.interpolate(output, image.shape[-2:], mode="bilinear", antialias=True)


def depth_anything_v2(
    weights: str | None = None,
    url: str = "",
    checksums: Mapping[str, str] | None = None,
    size: int = 518,
) -> DepthAnything:
    """Depth Anything V2, its Small model unless the folder `weights` has files of another.

    By default those below `url` are fetched once: `checksums` is {file: SHA-256}. `size` is a side
    of its input in pixels, a multiple of 14; it was trained at 518. An InputError: transformers is
    not installed, or the weights are missing or of another network.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < PATCH or size % PATCH:
        raise InputError("depth_net.size", repr(size), f"a multiple of {PATCH}, {PATCH} or more")
    folder = Path(weights or FOLDER)
    for file, checksum in ({} if weights else checksums or {}).items():
        folder = files.fetch(f"{url}/{file}", checksum, KEY, folder=FOLDER).parent
    return DepthAnything(_load(folder), size)


def _load(folder: Path) -> nn.Module:
    for file in FILES:
        if not (folder / file).is_file():
            got = f"{folder}, which has no {file}" if folder.is_dir() else f"no folder: {folder}"
            raise InputError(KEY, got, f"a folder with {' and '.join(FILES)}")
    try:
        from transformers import DepthAnythingForDepthEstimation
        from transformers.utils import logging
    except ImportError as error:
        got = "depth_anything_v2 without the package transformers"
        expected = "`make setup`, or `pip install 'transformers>=5'`"
        raise InputError("depth_net", got, expected) from error
    logging.set_verbosity(logging.CRITICAL)  # what it would warn of is refused below
    logging.disable_progress_bar()
    try:
        loaded: Any = DepthAnythingForDepthEstimation.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # OSError, SafetensorError, and whatever a wrong setting causes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        got = f"{folder}, which cannot be read ({reason[:120]})"
        raise InputError(KEY, got, f"a folder of {NAME}") from error
    network, report = loaded
    wrong = {
        "missing": report["missing_keys"],
        "left over": report["unexpected_keys"],
        "of another shape": [name for name, *_ in report["mismatched_keys"]],
    }
    parts = [f"{len(names)} {what} ({min(names)} ...)" for what, names in wrong.items() if names]
    if parts:
        raise InputError(KEY, f"weights of another network: {', '.join(parts)}", NAME)
    if network.config.depth_estimation_type != "relative":
        raise InputError(KEY, f"a model of metric depth: {folder}", "one of relative depth")
    return network
