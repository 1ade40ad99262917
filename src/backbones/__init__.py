"""The networks whose features the losses compare, one family per file."""

from src.backbones.chain import Backbone, check_size
from src.backbones.squeezenet import squeezenet, squeezenet_caffe
from src.backbones.vgg import vgg16, vgg19, vgg19_torchvision

__all__ = [
    "Backbone",
    "check_size",
    "squeezenet",
    "squeezenet_caffe",
    "vgg16",
    "vgg19",
    "vgg19_torchvision",
]
