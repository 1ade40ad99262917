"""`python -m src.inputs list` and `python -m src.inputs preview PICTURE [key=value ...]`."""

import difflib
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from src import depth_nets
from src.errors import InputError
from src.inputs import load_scene, samples

USAGE = """usage: python -m src.inputs list [out=FILE.png]
       python -m src.inputs preview PICTURE [key=value ...]

list     prints every built-in name and draws them all on one sheet
preview  draws a picture, its depth, and what each mask function makes of it

keys, as in python -m src.run: content_index, depth.source, depth.path, depth.kind, depth.scale,
depth.preset, size, short_side; and out, the sheet's file"""

# The main program's keys: the argument of load_scene, and what its text is turned into.
KEYS: dict[str, tuple[str, type]] = {
    "content_index": ("index", int),
    "depth.source": ("depth_source", str),
    "depth.path": ("depth_path", str),
    "depth.kind": ("depth_kind", str),
    "depth.scale": ("depth_scale", str),
    "depth.preset": ("depth_preset", str),
    "size": ("size", int),
    "short_side": ("short_side", int),
    "out": ("out", Path),
}
FOLDER = Path("outputs")


def main(arguments: list[str]) -> int:
    """Run one command; the exit status."""
    try:
        match arguments:
            case ["list", *pairs]:
                _list(_options(pairs))
            case ["preview", picture, *pairs] if "=" not in picture:
                _preview(picture, _options(pairs))
            case ["-h" | "--help"]:
                print(USAGE)
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _options(pairs: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if key not in KEYS or not equals:
            nearest = difflib.get_close_matches(key, KEYS, n=1)
            hint = f" (nearest: {nearest[0]})" if nearest else ""
            raise InputError(key, f"'{pair}'", f"key=value with one of {', '.join(KEYS)}{hint}")
        name, kind = KEYS[key]
        try:
            options[name] = kind(text)
        except ValueError as error:
            raise InputError(key, f"'{text}'", "a whole number") from error
    return options


def _list(options: dict[str, Any]) -> None:
    from src.inputs import classics, preview

    for name in samples.PHOTOS:
        print(f"content={name:18} built in, with measured depth")
    for name in samples.paintings():
        print(f"style={name:20} built in")
    for name, classic in classics.CLASSICS.items():
        there = "on this machine" if classics.cached(name).is_file() else "fetched when first used"
        print(f"style={name:20} {classic.title} ({there})")
    out = options.get("out", FOLDER / "builtin.png")
    preview.write(preview.builtins(), out)
    print(f"sheet: {out}")


def _estimate(image: Tensor) -> tuple[Tensor, str]:
    """The depth of a picture that carries none, by the network that ships with the program."""
    net = depth_nets.vgg_head()
    return depth_nets.estimate_depth(net, image), net.name


def _preview(picture: str, options: dict[str, Any]) -> None:
    from src.inputs import preview

    out = options.pop("out", None)
    if not options.keys() & {"size", "short_side"}:
        options["size"] = 512
    scene = load_scene(picture, **options, estimate=_estimate)
    print(f"depth: {scene.depth_from}")
    out = out or FOLDER / f"preview_{scene.name}.png"
    preview.write(preview.preview(scene), out)
    print(f"sheet: {out}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
