"""What masks and depth networks cost, measured in turn and kept beside the report."""

import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from src import bench, masks
from src import config as configuration
from src.backbones import Backbone
from src.evaluate.benchmark import argument
from src.losses import content_loss, gram_matrix, style_loss
from src.paper.plan import OF_DEPTH, OF_MASKS, Setting, load_network
from src.runs import write_text

FILE = "timing.json"
UNCOUNTED = 3  # rounds at first


def in_turn(work: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other, round by round; the first rounds are left out.

    Every other round goes backwards, so that none is always the one that finds the caches warm.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for i in range(rounds + UNCOUNTED):
        for name in list(work)[:: -1 if i % 2 else 1]:
            began = time.perf_counter()
            work[name]()
            if i >= UNCOUNTED:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def overhead(seconds: Mapping[str, list[float]], of: str, over: str) -> float:
    """How much longer one takes than the other, as a share: the median round by round."""
    return bench.ratio(seconds, of, over) - 1


def style_work(features: Mapping[str, Tensor], mask: Tensor | None) -> Callable[[], None]:
    """A style loss of given features with its gradient, as the paper's: sum_l E_l.

    Args:
        features: by layer, (1, C, h, w).
        mask: (1, 1, H, W), or None.
    """
    grams = {layer: gram_matrix(x) / 2 for layer, x in features.items()}  # some other picture's
    at = {
        layer: None if mask is None else masks.at_layer(mask, *x.shape[-2:])
        for layer, x in features.items()
    }

    def run() -> None:
        leaves = {layer: x.detach().requires_grad_() for layer, x in features.items()}
        losses = [
            style_loss(gram_matrix(x, at[layer], "paper"), grams[layer])
            for layer, x in leaves.items()
        ]
        torch.stack(losses).sum().backward()

    return run


def content_work(features: Tensor, mask: Tensor | None) -> Callable[[], None]:
    """A content loss of given features (1, C, h, w) with its gradient."""
    target = features / 2
    at = None if mask is None else masks.at_layer(mask, *features.shape[-2:])

    def run() -> None:
        content_loss(features.detach().requires_grad_(), target, at).backward()

    return run


def of_masks(
    network: Backbone, layers: Mapping[str, list[str]], image: Tensor, mask: Tensor, samples: int
) -> dict[str, float]:
    """What C4 needs: how much longer the losses take with a mask.

    Args:
        network: of the masks.
        layers: of its content and style losses.
        image: the photo, (1, 3, H, W).
        mask: (1, 1, H, W).
        samples: how many of each.
    """
    with torch.no_grad():
        features = network.features(image, [*layers["content"], *layers["style"]])
    style = {layer: features[layer] for layer in layers["style"]}
    content = features[layers["content"][0]]
    # Two at a time: what runs between them would leave its features in the caches.
    seconds = in_turn(
        {"style": style_work(style, None), "style_mask": style_work(style, mask)}, samples
    ) | in_turn(
        {"content": content_work(content, None), "content_mask": content_work(content, mask)},
        samples,
    )
    found = {
        "style_mask_overhead": overhead(seconds, "style_mask", "style"),
        "content_mask_overhead": overhead(seconds, "content_mask", "content"),
    }
    milliseconds = {f"{name}_ms": 1000 * median(values) for name, values in seconds.items()}
    return {**found, **milliseconds, "mask_samples": float(samples)}


def arguments(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as `compose` takes them."""
    return [argument(item) for item in overrides.items()]


def of_steps(setting: Setting, photo: Mapping[str, Any]) -> dict[str, float]:
    """What C4 and C14 need of whole evaluations of an objective with its gradient.

    Args:
        setting: the networks.
        photo: overrides that name it.
    """
    size = arguments({"short_side": setting.scale.short_side, **photo})
    network = arguments(OF_MASKS[setting.masks.used])
    jobs = {
        name: bench.built(f"+experiment=paper_{name}", *size, *network)
        for name in ("naive", "masked_style", "masked_content")
    }
    image = jobs["naive"].pictures["content"]
    work = {name: bench.evaluation(job.stylization.objective, image) for name, job in jobs.items()}
    seconds = in_turn(work, max(10 * setting.scale.rounds, 20))
    found = {
        "style_mask_step_overhead": overhead(seconds, "masked_style", "naive"),
        "content_mask_step_overhead": overhead(seconds, "masked_content", "naive"),
        "naive_step_ms": 1000 * median(seconds["naive"]),
    }
    depth = [*size, *arguments(OF_DEPTH[setting.depth.used])]
    depth += ["depth_net=vgg_head", "+experiment=paper_depth_loss"]
    plain = bench.built(*depth, "loss.depth.weight=null").stylization.objective
    head = bench.built(*depth).stylization.objective
    seconds = in_turn(
        {
            "naive": bench.evaluation(plain, image),
            "head": bench.evaluation(head, image),
            "monodepth2": bench.with_depth(plain, bench.untrained_monodepth2(), image),
        },
        setting.scale.rounds,
    )
    return {
        **found,
        "naive_depth_seconds": median(seconds["naive"]),
        "depth_head_over_naive": bench.ratio(seconds, "head", "naive"),
        "monodepth2_over_naive": bench.ratio(seconds, "monodepth2", "naive"),
    }


def kept(folder: Path, identity: Mapping[str, Any]) -> dict[str, float] | None:
    """Timings of an earlier call with the same settings on the same kind of machine, if any."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("identity") != identity:
        return None
    return {str(name): float(value) for name, value in found["numbers"].items()}


def identify(setting: Setting, photo: Mapping[str, Any]) -> dict[str, Any]:
    """What timings depend on."""
    return {
        "scale": vars(setting.scale),
        "masks": setting.masks.used,
        "depth": setting.depth.used,
        "photo": dict(photo),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "torch": torch.__version__,
    }


def measured(
    folder: Path, setting: Setting, photo: Mapping[str, Any], image: Tensor, mask: Tensor
) -> dict[str, float]:
    """Every timing, measured or as kept in timing.json.

    Args:
        folder: of the report.
        setting: networks and sizes.
        photo: overrides that name it.
        image: it, (1, 3, H, W).
        mask: a mask of it, (1, 1, H, W).

    Raises:
        InputError: something cannot be built.
    """
    identity = identify(setting, photo)
    known = kept(folder, identity)
    if known is not None:
        return known
    naive = ["+experiment=paper_naive", *arguments(OF_MASKS[setting.masks.used])]
    config = configuration.compose(*naive)
    network = load_network(config)
    layers = {
        part: [network.layer(layer, part) for layer in config["loss"][part]["layers"]]
        for part in ("content", "style")
    }
    numbers = of_masks(network, layers, image, mask, setting.scale.samples)
    numbers |= of_steps(setting, photo)
    text = json.dumps({"identity": identity, "numbers": numbers}, indent=2)
    write_text(folder / FILE, text + "\n")
    return numbers
