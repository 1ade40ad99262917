"""Objects from nodes of the configuration; the networks, loaded once for the runs of a process."""

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from torch import Tensor

from src.backbones import Backbone
from src.core.errors import InputError, did_you_mean
from src.core.files import Signature, file_signature
from src.core.settings import check_arguments
from src.depth_nets import DepthNet, estimate_depth
from src.depth_nets.vgg_head import VGGHead
from src.objective import check_depth_size
from src.pipeline import targets
from src.pipeline.config import compose, options
from src.pipeline.schema import Config, Node
from src.runs.identity import PRECISIONS, precision

log = logging.getLogger(__name__)
BETTER = "depth_net=depth_anything_v2 has finer edges (99 MB, fetched once)"
HOME = torch.device("cpu")  # where targets are computed; a run takes them to its device


def instantiate(key: str, node: Node, *args: Any, partial: bool = False) -> Any:
    """Build what a node names as its `_target_` from its other entries.

    Args:
        key: of the node, for errors.
        node: of the configuration; entries that are nodes are built, too.
        args: positional arguments that are not of the configuration.
        partial: give the function with its settings instead of what it returns.

    Raises:
        InputError: no such function, or settings that it does not take.
    """
    check_node(key, node, len(args))
    with name_settings(key, node):
        return hydra_instantiate(dict(node), *args, _partial_=partial, _convert_="all")


@contextmanager
def name_settings(key: str, node: Node) -> Iterator[None]:
    """Turn what a function raises about the settings of its node into an InputError."""
    try:
        yield
    except (InstantiationException, TypeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, TypeError | ValueError) or isinstance(cause, InputError):
            raise cause or error from error
        settings = omit(node, "_target_")
        raise InputError(key, f"{settings} ({cause})", "settings that it takes") from error


def omit(node: Node, *keys: str) -> Node:
    """A node less some of its entries."""
    return {key: value for key, value in node.items() if key not in keys}


def target(key: str, node: Node) -> Callable[..., Any]:
    """The function or class that a node names as its `_target_`.

    Raises:
        InputError: nothing of that name.
    """
    return targets.find(f"{key}._target_", str(node.get("_target_")))


def check_node(key: str, node: Node, positional: int = 0) -> None:
    """Check the settings of a node, and of the nodes in it, by the functions that they name.

    The first `positional` arguments of the function do not come from the configuration.

    Raises:
        InputError: no such function, or settings that it does not take.
    """
    function = target(key, node)
    settings = omit(node, "_target_")
    for name, value in settings.items():
        if isinstance(value, Mapping) and "_target_" in value:
            check_node(f"{key}.{name}", value)
    names = list(inspect.signature(function).parameters)
    check_arguments(key, function, settings, names[:positional])


@dataclass(frozen=True)
class NetworkLoader:
    """The networks of a configuration, each loaded where it is first asked for.

    Loaders of the same nodes and the same files of weights are equal and share networks.
    """

    backbone_node: str  # JSON
    depth_node: str  # JSON
    precision: str  # what the backbone computes in
    files: tuple[Signature, Signature]  # of weights

    @classmethod
    def of(cls, config: Config) -> "NetworkLoader":
        """The loader of a configuration."""
        nodes = (config.backbone, config.depth_net)
        weights = [file_signature(node.get("weights")) for node in nodes]
        backbone, depth_net = (json.dumps(node, sort_keys=True) for node in nodes)
        name = precision(config.precision, config.accelerator)
        return cls(backbone, depth_net, name, (weights[0], weights[1]))

    @property
    def backbone(self) -> Backbone:
        """The style network, on the CPU."""
        return _load_backbone(self).to(HOME)

    @property
    def depth_net(self) -> DepthNet:
        """The depth network, on the CPU."""
        return _load_depth_net(self).to(HOME)

    def estimate(self, image: Tensor) -> tuple[Tensor, str]:
        """The program's depth of an image by the depth network, and the network's name."""
        net = self.depth_net
        check_depth_size(image, net)
        if isinstance(net, VGGHead):
            _recommend_better(net.name)
        return estimate_depth(net, image), net.name


@cache  # said once, not for every frame of a clip
def _recommend_better(name: str) -> None:
    log.warning("depth is estimated by %s; %s", name, BETTER)


@lru_cache(maxsize=2)
def _load_backbone(loader: NetworkLoader) -> Backbone:
    backbone: Backbone = instantiate("backbone", json.loads(loader.backbone_node))
    return backbone.to_dtype(PRECISIONS[loader.precision])


@lru_cache(maxsize=2)
def _load_depth_net(loader: NetworkLoader) -> DepthNet:
    net: DepthNet = instantiate("depth_net", json.loads(loader.depth_node))
    net.attach_backbone(loader.backbone)
    return net


def depth_network(name: str, weights: str | None = None, key: str = "depth_net") -> DepthNet:
    """A depth network by its name in conf/depth_net/, for other commands than run's.

    Args:
        name: as `depth_net=` takes it.
        weights: as `depth_net.weights=` takes it.
        key: what named it, for errors.

    Raises:
        InputError: no such network, or its weights are not available.
    """
    known = options("depth_net")
    if name not in known:
        raise InputError(key, repr(name), did_you_mean(name, known))
    node = compose("+experiment=naive", f"depth_net={name}").depth_net
    net: DepthNet = instantiate("depth_net", {**node, "weights": weights} if weights else node)
    return net
