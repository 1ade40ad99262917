"""Style distances: how far the pastiche's features at a layer are from a style image's."""

from dataclasses import dataclass

from torch import Tensor

from src.losses import Normalizer, gram_matrix, style_loss
from src.losses.gram import gram_normalizer, unnormalized_gram, unnormalized_moments
from src.losses.wasserstein import gaussian_wasserstein, moments, principal_axes


class StyleDistance:
    """Statistics of features at one layer, and their distance.

    One takes `statistics` and `distance`; with `accumulate` and `normalize` it can be tiled, too.
    Subclasses are frozen dataclasses, so that equal ones share what is known of style images.
    Features are (1, C, H, W), masks (1, 1, H, W) in [0, 1]; statistics have any shape.
    """

    additive = False  # whether an image may be tiled

    def statistics(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of a whole image."""
        raise NotImplementedError

    def target(self, statistics: Tensor) -> Tensor:
        """What `distance` takes of a style image, by default its statistics."""
        return statistics

    def distance(self, statistics: Tensor, target: Tensor) -> Tensor:
        """From the pastiche's to the style image's, a scalar."""
        raise NotImplementedError

    def layer_weight(self, target: Tensor) -> float:
        """omega_l, where the configuration gives none."""
        return 1.0

    def accumulate(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """What a tile adds to a sum over the image."""
        raise NotImplementedError

    def normalize(self, total: Tensor, size: tuple[int, int], mask: Tensor | None = None) -> Tensor:
        """The statistics from the sum over an image of (H, W) positions."""
        raise NotImplementedError


@dataclass(frozen=True)
class GramDistance(StyleDistance):
    """E_l, the squared distance of Gram matrices (paper, 3.1, 3.2)."""

    normalizer: Normalizer = "mean_square"
    additive = True

    def statistics(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """G."""
        return gram_matrix(features, mask, self.normalizer)

    def distance(self, statistics: Tensor, target: Tensor) -> Tensor:
        """E_l."""
        return style_loss(statistics, target)

    def layer_weight(self, target: Tensor) -> float:
        """1 / C^2, as in the code of Gatys et al. 2017."""
        return 1 / target.shape[-1] ** 2

    def accumulate(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """M eta G, for only the whole image has M and eta."""
        return unnormalized_gram(features, mask)

    def normalize(self, total: Tensor, size: tuple[int, int], mask: Tensor | None = None) -> Tensor:
        """G."""
        return total / gram_normalizer(size, mask, self.normalizer)


@dataclass(frozen=True)
class WassersteinDistance(StyleDistance):
    """The Wasserstein distance of Gaussians, over the mean square of the style image's features."""

    additive = True

    def statistics(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean and second moments."""
        return moments(features, mask)

    def target(self, statistics: Tensor) -> Tensor:
        """Mean and principal axes."""
        return principal_axes(statistics)

    def distance(self, statistics: Tensor, target: Tensor) -> Tensor:
        """W^2, relative: features of 0 are at a distance of 1."""
        return gaussian_wasserstein(statistics, target) / target.square().sum()

    def accumulate(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Their sums over positions."""
        return unnormalized_moments(features, mask)

    def normalize(self, total: Tensor, size: tuple[int, int], mask: Tensor | None = None) -> Tensor:
        """Mean and second moments."""
        return total / gram_normalizer(size, mask)
