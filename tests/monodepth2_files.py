"""Files with the names and shapes of Monodepth2's, filled by a formula: no download, no licence."""

import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def normalisation(name: str, channels: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def encoder_shapes() -> Shapes:
    """What encoder.pth holds beside height, width and use_stereo."""
    shapes: Shapes = {"encoder.conv1.weight": (64, 3, 7, 7)} | normalisation("encoder.bn1", 64)
    before = 64
    for layer, channels in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name = f"encoder.layer{layer}.{block}"
            shapes[f"{name}.conv1.weight"] = (channels, before, 3, 3)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            shapes |= normalisation(f"{name}.bn1", channels)
            shapes |= normalisation(f"{name}.bn2", channels)
            if before != channels:
                shapes[f"{name}.downsample.0.weight"] = (channels, before, 1, 1)
                shapes |= normalisation(f"{name}.downsample.1", channels)
            before = channels
    return shapes | {"encoder.fc.weight": (1000, 512), "encoder.fc.bias": (1000,)}


def decoder_shapes() -> Shapes:
    """What depth.pth holds."""
    upwards = [(512, 256), (512, 256), (256, 128), (256, 128), (128, 64)]
    upwards += [(128, 64), (64, 32), (96, 32), (32, 16), (16, 16)]
    convolutions = {f"decoder.{i}.conv.conv": pair for i, pair in enumerate(upwards)}
    for i, channels in enumerate((16, 32, 64, 128), start=10):
        convolutions[f"decoder.{i}.conv"] = (channels, 1)
    shapes: Shapes = {}
    for name, (before, after) in convolutions.items():
        shapes |= {f"{name}.weight": (after, before, 3, 3), f"{name}.bias": (after,)}
    return shapes


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor made of its name and of nothing else, of a size that keeps a network alive."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    phase = zlib.crc32(name.encode()) % 1000
    wave = torch.sin(1.7 * index + 40 * torch.sin(0.013 * index) + phase).reshape(shape)
    if len(shape) > 1:
        return (wave * math.sqrt(3 / math.prod(shape[1:]))).float()
    return (1 + 0.3 * wave if name.endswith(("weight", "_var")) else 0.2 * wave).float()


def encoder() -> dict[str, object]:
    tensors = {name: filled(name, shape) for name, shape in encoder_shapes().items()}
    return tensors | {"height": 192, "width": 640, "use_stereo": False}


def decoder() -> dict[str, object]:
    return {name: filled(name, shape) for name, shape in decoder_shapes().items()}


def save(folder: Path) -> Path:
    """The two files, in the format of their time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in (("encoder.pth", encoder()), ("depth.pth", decoder())):
        torch.save(state, folder / name, _use_new_zipfile_serialization=False)
    return folder
