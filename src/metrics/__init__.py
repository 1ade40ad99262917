"""How near a pastiche comes to what was asked of it: from tensors, and from runs, to numbers.

Images are (1, 3, H, W) sRGB in [0, 1], maps (1, 1, H, W), features (1, C, h, w). The first argument
is of the pastiche; `target` is what it is compared with, in the same shape. Ranges, and which way
is better: runs/quantities.yaml.
"""
