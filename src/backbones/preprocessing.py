"""What the weights of a network expect of an image."""

from dataclasses import dataclass

# Spread of an ImageNet picture's colours in [0, 1], the mean of torchvision's three.
IMAGENET_STD = 0.2256
IMAGENET_MEAN = (0.485, 0.456, 0.406)
# The mean that Caffe networks subtract, on 0-255, in their order: blue, green, red.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Preprocessing:
    """(image[channels] - mean) / std, of images in [0, 1]; channels (2, 1, 0) for BGR."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: tuple[int, ...] = (0, 1, 2)


TORCHVISION = Preprocessing(IMAGENET_MEAN, (0.229, 0.224, 0.225))

# Caffe's weights take 0-255. A chain of convolutions, ReLUs and max pools is homogeneous: with its
# biases divided by s, it gives for an image divided by s its features divided by s. With s = 255 x
# 0.2256 the features of Caffe's weights come out in the units of torchvision's (one standard
# deviation of the input is 1), and a loss weight means about the same with either.
CAFFE_UNIT = 255 * IMAGENET_STD
CAFFE = Preprocessing(tuple(m / 255 for m in CAFFE_MEAN_BGR), (IMAGENET_STD,) * 3, (2, 1, 0))
