"""Which masks are brought to the photo's silhouettes in a run."""

import pytest
import torch

from src import masks
from src.pipeline import networks
from src.pipeline.build import build
from src.pipeline.config import compose, experiments


def test_masks_of_estimated_depth_are_refined_and_no_others() -> None:
    def mask(*overrides: str) -> torch.Tensor:
        return build(compose("+experiment=masked_style", "size=96", *overrides)).images["mask_main"]

    estimated = ("depth.source=estimate", "mask.center=0.5")
    plain, refined = (mask(*estimated, f"refine_masks={x}") for x in ("false", "true"))
    assert not torch.equal(plain, refined)
    assert torch.equal(mask(*estimated), refined)
    image = build(compose("+experiment=naive", "size=96")).images["content"]
    assert torch.equal(masks.refine(plain, image), refined)
    assert torch.equal(mask(), mask("refine_masks=false"))  # measured depth
    assert not torch.equal(mask(), mask("refine_masks=true"))
    edges = [mask("mask=edges", f"refine_masks={x}") for x in ("false", "true")]
    assert torch.equal(*edges)


def test_an_estimate_says_once_how_to_have_a_finer_one(caplog: pytest.LogCaptureFixture) -> None:
    networks._recommend_better.cache_clear()
    options = ("+experiment=masked_style", "size=80", "depth.source=estimate")
    for center in ("0.5", "0.4"):
        build(compose(*options, f"mask.center={center}"))
    said = "depth is estimated by VGG head; depth_net=depth_anything_v2"
    assert caplog.text.count(said) == 1


def test_the_papers_masks_are_functions_of_depth_alone() -> None:
    names = [name for name in experiments() if name.startswith("paper_")]
    assert len(names) == 5
    assert all(compose(f"+experiment={name}").refine_masks is False for name in names)
    assert compose("+experiment=masked_style").refine_masks == "auto"
