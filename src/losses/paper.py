"""The formulas of the paper, sections 3.1 to 3.3, in its order and with its mistakes corrected.

Losses are scalars, 0 or more; none divides by the size of the image unless its formula says so.
"""

from torch import Tensor

from src.losses.gram import (
    Normalizer,
    accumulation_dtype,
    gram_normalizer,
    unnormalized_gram,
    upcast,
)


def content_loss(features: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """L_content = 1/2 sum((mask * (F - P))^2): half the squared difference of features.

    Paper, section 3.1 (mask None) and 3.2 (mask = gamma_c(d)): F of the pastiche and P of the
    content image, both (B, C, H, W), and the mask (B, 1, H, W) in [0, 1] at this layer's size.
    """
    difference = upcast(features) - upcast(target)
    if mask is not None:
        difference = difference * mask
    return 0.5 * difference.square().sum()


def gram_matrix(
    features: Tensor, mask: Tensor | None = None, normalizer: Normalizer = "mean_square"
) -> Tensor:
    """G = 1/(M eta) sum_k (mask F)_ik (mask F)_jk: which filters respond together, and how much.

    Paper, section 3.2 (mask = gamma_s(d)); without a mask (eta = 1) section 3.1.

    Differs from the paper in dividing by M here rather than in E_l, so that the Gram matrices of
    two images of different size compare (the paper has one M for both). Differs from it also in
    eta: the paper divides by mean(mask)^2, which leaves the Gram matrix of every mask that selects
    too large (2x for a mask of ones on half of the image, 4x on a quarter), since its sum grows
    with mean(mask^2). That is what Gatys et al. 2017 divide by ("Controlling Perceptual Factors in
    Neural Style Transfer", guided Gram matrices) and the default here.

    Args:
        features: F, (B, C, H, W).
        mask: (B, 1, H, W) in [0, 1] at this layer's size, which gets no gradient; NaN if all 0.
        normalizer: eta: "mean_square" for mean(mask^2), "paper" for mean(mask)^2.

    Returns:
        (B, C, C), symmetric, float32 or finer.

    Raises:
        ValueError: an unknown normalizer.
    """
    if mask is not None:
        mask = mask.detach().to(accumulation_dtype(features))
    divisor = gram_normalizer((features.shape[-2], features.shape[-1]), mask, normalizer)
    return unnormalized_gram(features, mask) / divisor


def style_loss(gram: Tensor, target_gram: Tensor) -> Tensor:
    """E_l = 1/(4 C^2) sum((G - A)^2): the distance of two Gram matrices at one layer.

    Paper, section 3.1. Its 1/M^2 is inside the Gram matrices here (see `gram_matrix`): G of the
    pastiche and A of the style image, both (B, C, C).
    """
    channels = gram.shape[-1]
    return (gram - target_gram).square().sum() / (4 * channels**2)


def total_variation(image: Tensor) -> Tensor:
    """L_tv: the sum of squared differences of neighbouring pixels, down and across.

    Paper, section 3.1, of an image (B, C, H, W).
    """
    down = image[:, :, 1:] - image[:, :, :-1]
    across = image[:, :, :, 1:] - image[:, :, :, :-1]
    return upcast(down).square().sum() + upcast(across).square().sum()


def depth_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L_depth = 1/(H W) ||phi(original) - phi(pastiche)||^2: how far two depth maps are apart.

    Paper, section 3.3, of phi(pastiche) and phi(original), both (B, 1, H, W). Networks know depth
    up to scale and shift only: `aligned_depth_loss` is blind to both.
    """
    return (upcast(predicted) - upcast(target)).square().mean()
