"""Depth Anything V2 (Yang et al. 2024, arXiv 2406.09414) as kept by the package transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src import weights as files
from src.depth_nets.network import KEY, DepthNet
from src.errors import InputError

NAME = "Depth Anything V2"
FOLDER = "Depth-Anything-V2-Small-hf"  # in the cache, whose files have names that say nothing
CONFIG, TENSORS = "config.json", "model.safetensors"
PATCH = 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DepthAnything(DepthNet):
    """Depth Anything, with its own preprocessing as differentiable tensor code.

    Args:
        module: the network, from preprocessed pictures to `predicted_depth`.
        size: the side in pixels that it looks at, a multiple of 14.
    """

    smallest_side = PATCH

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__(module, f"{NAME} at {size} px")
        self._size = size

    def feed(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) at which a picture is looked at: multiples of 14, its aspect kept.

        One side becomes `size`, the one that has to change least: of a large picture the shorter,
        of a small one the longer.
        """
        scale = min((self._size / height, self._size / width), key=lambda scale: abs(1 - scale))
        fed_height, fed_width = (
            max(1, round(side * scale / PATCH)) * PATCH for side in (height, width)
        )
        return fed_height, fed_width

    def preprocess(self, image: Tensor) -> Tensor:
        """A picture as the network takes it: bicubic, antialiased, ImageNet's mean and deviation.

        Differs from the library's own in that nothing is rounded to 8 bits or cut off at 0 and 1,
        which would take the gradient away.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, 3, h, w), see `feed`.
        """
        size = self.feed(*image.shape[-2:])
        fed = F.interpolate(image, size, mode="bicubic", antialias=True)
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        return (fed - mean) / std

    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Disparity of a picture.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
            features: not looked at.

        Returns:
            (B, 1, H, W) from 0 up, larger is nearer: what the library calls `predicted_depth`.
        """
        found = self.module(pixel_values=self.preprocess(image)).predicted_depth.unsqueeze(1)
        return F.interpolate(found, image.shape[-2:], mode="bilinear", antialias=True)


def depth_anything_v2(
    weights: str | None = None,
    url: str = "",
    checksums: Mapping[str, str] | None = None,
    size: int = 518,
) -> DepthAnything:
    """Depth Anything V2, its Small model unless a folder says otherwise.

    Args:
        weights: a folder with `config.json` and `model.safetensors`; by default they are fetched
            once.
        url: the address of the folder to fetch.
        checksums: {file: SHA-256} of what is to be fetched from there.
        size: the side in pixels that it looks at, a multiple of 14. It was trained at 518.

    Raises:
        InputError: transformers is not installed, or the weights are not there, cannot be fetched,
            or are of another network; or a size that it cannot look at.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < PATCH or size % PATCH:
        raise InputError("depth_net.size", repr(size), f"a multiple of {PATCH}, {PATCH} or more")
    if weights:
        return DepthAnything(_load(Path(weights)), size)
    fetched = [
        files.fetch(f"{url}/{file}", checksum, KEY, folder=FOLDER)
        for file, checksum in (checksums or {}).items()
    ]
    return DepthAnything(_load(fetched[0].parent), size)


def _load(folder: Path) -> nn.Module:
    """The network in a folder, every tensor of it accounted for."""
    for file in (CONFIG, TENSORS):
        if not (folder / file).is_file():
            got = f"{folder}, which has no {file}" if folder.is_dir() else f"no folder: {folder}"
            raise InputError(KEY, got, f"a folder with {CONFIG} and {TENSORS}")
    try:
        from transformers import DepthAnythingForDepthEstimation
        from transformers.utils import logging
    except ImportError as error:
        raise InputError(
            "depth_net",
            "depth_anything_v2 without the package transformers",
            "`make setup`, or `pip install 'transformers>=5'`",
        ) from error
    logging.set_verbosity(logging.CRITICAL)  # what it has to say is in `report`, and said below
    logging.disable_progress_bar()
    try:
        found: Any = DepthAnythingForDepthEstimation.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # OSError, SafetensorError, and whatever a wrong setting causes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            KEY, f"{folder}, which cannot be read ({reason[:120]})", f"a folder of {NAME}"
        ) from error
    network, report = found
    wrong = {
        "missing": sorted(report["missing_keys"]),
        "left over": sorted(report["unexpected_keys"]),
        "of another shape": sorted(name for name, *_ in report["mismatched_keys"]),
    }
    parts = [f"{len(names)} {what} ({names[0]} ...)" for what, names in wrong.items() if names]
    if parts:
        raise InputError(KEY, f"weights of another network: {', '.join(parts)}", NAME)
    if network.config.depth_estimation_type != "relative":
        raise InputError(KEY, f"a model of metric depth: {folder}", "one of relative depth")
    return network
