"""What the claims are judged by: the finished runs, the photos, the networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from src.inputs import Scene
from src.paper.measures import Undefined, late_fall
from src.paper.plan import MASK_NETWORKS, MASK_RUNS, Setting, arguments
from src.pipeline.config import compose
from src.pipeline.networks import instantiate
from src.runs.reader import Run

PAPER_STEPS = 300
SETTLED = 0.05  # most that a total still falls in the last tenth of its steps


@dataclass(frozen=True)
class Evidence:
    """Setting, photos (the runs' first), finished runs, and why others are missing, by name."""

    setting: Setting
    scenes: Sequence[Scene]
    runs: Mapping[str, Run]
    missing: Mapping[str, str]

    @property
    def depth(self) -> Tensor:
        """The runs' photo's, (1, 1, H, W)."""
        depth = self.scenes[0].depth
        assert depth is not None  # `load_scene` refuses a photo without
        return depth

    def run(self, name: str) -> Run:
        """A finished run; `Undefined` where there is none of that name."""
        if name not in self.runs:
            raise Undefined(self.missing.get(name, f"the run {name} is not there"))
        return self.runs[name]

    def total(self, name: str) -> float:
        """The total of a run's pastiche."""
        return float(self.run(name).summary["total"])

    def curve(self, name: str) -> list[float]:
        """The total before every step of a run, and at the end."""
        return [*self.run(name).terms["total"], self.total(name)]

    @property
    def steps(self) -> int:
        """How many steps the runs made."""
        return int(self.run("naive").summary["steps"])

    @property
    def step_seconds(self) -> float:
        """Seconds of a step of the naive run."""
        seconds = self.run("naive").summary["seconds_per_step"]
        if seconds is None:  # too few steps
            raise Undefined("these runs give no naive step seconds")
        return float(seconds)

    @cached_property
    def largest_late_fall(self) -> float:
        """Of the runs without a mask, with a style mask and with a content mask."""
        return max(late_fall(self.curve(name)) for name in MASK_RUNS)

    def unsettled(self) -> str:
        """Words for runs shorter than the paper's that have not come to an end; else empty."""
        if self.steps >= PAPER_STEPS or self.largest_late_fall <= SETTLED:
            return ""
        return (
            f"; but after {self.steps} of {PAPER_STEPS} steps the runs have not settled: make "
            "them without --quick"
        )

    @cached_property
    def features(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The photo's, at the content layer and by style layer of the runs with masks."""
        of_masks = arguments(MASK_NETWORKS[self.setting.masks.used])
        config = compose("+experiment=paper_naive", *of_masks)
        network, terms = instantiate("backbone", config.backbone), config.loss.terms
        content = network.layer(terms["content"]["layers"][0], "content")
        style = [network.layer(layer, "style") for layer in terms["style"]["layers"]]
        with torch.no_grad():
            features = network.features(self.scenes[0].image, [content, *style])
        return features[content], {layer: features[layer] for layer in style}
