"""A depth network from a file of the user's own, ONNX or LiteRT: to judge by, or to estimate depth.

No gradient goes through it, so it cannot be in the loss; that is what makes it a judge.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.core.errors import InputError
from src.depth_nets.depth_anything import MEAN, STD
from src.depth_nets.network import KEY, DepthNet

SUFFIXES = (".onnx", ".tflite")
SIDE = 384  # px, the long side of what a network of no fixed size is given
MULTIPLE = 32  # of which its sides are
EXPECTED = "a depth network of one RGB image, a .onnx or .tflite file"
FLOAT = f"{EXPECTED}, that takes float32"
Kind = Literal["disparity", "depth"]
Colors = Literal["unit", "imagenet"]
Run = Callable[[np.ndarray], list[np.ndarray]]


class ModelFile(DepthNet):
    """The network of a file: `infer` runs it on float32 of `shape`, (1, h, w, 3) or (1, 3, h, w).

    A side that is no number may be any.
    """

    differentiable = False

    def __init__(
        self,
        infer: Run,
        shape: Sequence[Any],
        path: Path,
        kind: Kind,
        colors: Colors,
    ) -> None:
        super().__init__(nn.Identity(), path.stem)
        self._digest = hashlib.sha256(path.read_bytes() + f"{kind} {colors}".encode())
        self._infer, self._kind, self._colors = infer, kind, colors
        self._channels_first = len(shape) == 4 and shape[1] == 3
        sides = tuple(shape[2:] if self._channels_first else shape[1:3])
        self._sides = sides if all(isinstance(x, int | np.integer) for x in sides) else None

    def fingerprint(self) -> str:
        """Of the file's bytes and how it is read."""
        return self._digest.hexdigest()[:12]

    def disparity(self, image: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """(B, 3, H, W) to (B, 1, H, W), without a gradient."""
        maps = [self._one(x) for x in image.detach().cpu().split(1)]
        return F.interpolate(torch.cat(maps), image.shape[-2:], mode="bilinear").to(image)

    def _one(self, image: Tensor) -> Tensor:
        height, width = self._sides or _rounded(*image.shape[-2:])
        x = F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        if self._colors == "imagenet":
            mean, std = (x.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
            x = (x - mean) / std
        if not self._channels_first:
            x = x.permute(0, 2, 3, 1)
        maps = [y.squeeze() for y in self._infer(np.ascontiguousarray(x.numpy()))]
        # Several are of several scales, the finest first.
        largest = max((y for y in maps if y.ndim == 2), key=np.size, default=None)
        if largest is None or not np.isfinite(largest).all():
            shapes = ", ".join(" x ".join(map(str, y.shape)) for y in maps)
            raise InputError(KEY, f"a network that gives {shapes or 'nothing'}", EXPECTED)
        sign = -1 if self._kind == "depth" else 1
        return sign * torch.from_numpy(largest.astype(np.float32))[None, None]


def _rounded(height: int, width: int) -> tuple[int, int]:
    scale = SIDE / max(height, width)
    rows, columns = (MULTIPLE * max(1, round(x * scale / MULTIPLE)) for x in (height, width))
    return rows, columns


def model_file(
    weights: str | None = None, kind: Kind = "disparity", colors: Colors = "unit"
) -> ModelFile:
    """The network of an ONNX or LiteRT file that takes one RGB image and gives one map.

    `kind` says what grows with what it gives: nearness (disparity) or distance (depth). `colors`
    are those that it takes: in [0, 1] (unit), or these with ImageNet's mean 0 and deviation 1.
    Where its size is free, images have a long side of `SIDE` pixels.

    Raises:
        InputError: no such file, no network in it, or its runtime is not installed.
    """
    path = Path(weights or "").expanduser()
    if not weights or not path.is_file():
        raise InputError(KEY, f"'{weights}', no file" if weights else "nothing", EXPECTED)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(KEY, f"'{path}'", EXPECTED)
    try:
        load = _onnx if path.suffix.lower() == ".onnx" else _litert
        infer, shape = load(path)
    except ImportError as error:
        got = f"'{path}' without the package {error.name}"
        raise InputError(KEY, got, "the extra `judges`, which `make setup` installs") from error
    except InputError:
        raise
    except Exception as error:  # whatever a runtime raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        got = f"'{path}', which cannot be read ({reason[:120]})"
        raise InputError(KEY, got, EXPECTED) from error
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise InputError(KEY, f"'{path}', which takes {list(shape)}", EXPECTED)
    return ModelFile(infer, shape, path, kind, colors)


def judge_file(text: str, key: str) -> ModelFile:
    """The network of `FILE[:depth][:imagenet]`; an InputError has the key of who asks."""
    settings: dict[str, Any] = {}
    head, _, word = text.rpartition(":")
    while word in (*get_args(Kind), *get_args(Colors)):
        settings["kind" if word in get_args(Kind) else "colors"] = word
        text = head
        head, _, word = text.rpartition(":")
    try:
        return model_file(text, **settings)
    except InputError as error:
        raise InputError(key, error.got, error.expected) from error


def _onnx(path: Path) -> tuple[Run, Sequence[Any]]:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    if taken.type != "tensor(float)":
        raise InputError(KEY, f"'{path}', which takes {taken.type}", FLOAT)
    return lambda x: session.run(None, {taken.name: x}), taken.shape


def _litert(path: Path) -> tuple[Run, Sequence[Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (taken,) = interpreter.get_input_details()
    if taken["dtype"] is not np.float32:
        raise InputError(KEY, f"'{path}', which takes {taken['dtype'].__name__}", FLOAT)
    outputs = interpreter.get_output_details()
    given = sorted(outputs, key=lambda one: (len(one["name"]), one["name"]))  # x, x_1, x_2

    def infer(x: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(taken["index"], x)
        interpreter.invoke()
        return [interpreter.get_tensor(one["index"]) for one in given]

    return infer, [int(side) for side in taken["shape"]]
