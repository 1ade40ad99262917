"""The commands `python -m src.inputs list`, `preview` and `fetch`."""

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from src import depth_nets
from src.core.errors import InputError, did_you_mean
from src.core.files import replace_whole
from src.inputs import load_scene, plausibility, preview, samples
from src.runs.result import read_settings

KEYS: dict[str, type] = {"content_index": int, "size": int, "short_side": int, "out": Path}
KEYS |= {f"depth.{key}": str for key in ("source", "path", "kind", "scale", "preset")}
USAGE = f"""usage: python -m src.inputs COMMAND

list                           print every built-in name
preview PICTURE [key=value ..] draw a picture, its depth, and what each mask function makes of it;
                               of a video its first frame, or that of content_index
settings PICTURE               print the settings that a result was made with, as YAML
fetch nyu                      fetch NYU Depth v2, 2.8 GB, for content=nyu:0000 and on

keys, as in python -m src.run, and out, the sheet's file: {", ".join(KEYS)}"""


def main(arguments: list[str]) -> int:
    """Run one command; the exit status."""
    try:
        match arguments:
            case [*_, "-h" | "--help"]:
                print(USAGE)
            case ["list"]:
                _list()
            case ["preview", picture, *pairs]:
                if "=" in picture and not Path(picture).exists():
                    raise InputError("preview", f"'{picture}'", "a picture first, without a key")
                _preview(picture, _options(pairs))
            case ["settings", picture]:
                print(read_settings(Path(picture)), end="")
            case ["fetch", "nyu"]:
                from src.inputs import nyu  # brings h5py: 0.3 s

                print(f"{nyu.fetch()}: content=nyu:0000 and on")
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _options(pairs: list[str]) -> dict[str, Any]:
    """The values of `key=value` pairs by the names of `load_scene`'s arguments."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if key not in KEYS or not equals:
            raise InputError(key, f"'{pair}'", f"key=value with {did_you_mean(key, KEYS)}")
        try:
            options[key.removeprefix("content_").replace(".", "_")] = KEYS[key](text)
        except ValueError as error:
            raise InputError(key, f"'{text}'", "a whole number") from error
    return options


def _list() -> None:
    for name in samples.PHOTOS:
        print(f"content={name:18} built in, with measured depth")
    for name in samples.paintings():
        print(f"style={name:20} built in")
    for name, classic in samples.CLASSICS.items():
        status = "here" if samples.cached(name).is_file() else "fetched when first used"
        print(f"style={name:20} {classic.title} ({status})")


def _preview(picture: str, options: dict[str, Any]) -> None:
    out = options.pop("out", None)
    if out is not None and out.suffix.lower() != ".png":
        raise InputError("out", f"'{out}'", "a name that ends in .png")
    if not options.keys() & {"size", "short_side"}:
        options["size"] = 512
    scene = load_scene(picture, **options, estimate=_estimate)
    print(f"depth: {scene.depth_from}")
    if "depth_path" in options:
        plausibility.announce_depth(scene, options.get("depth_kind", "auto"))
    path = out or Path(f"outputs/preview_{scene.name}.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_whole(path) as part:
            preview.preview(scene).save(part, format="PNG")
    except OSError as error:
        got = f"'{path}' ({error.strerror or error})"
        raise InputError("out", got, "a file that can be written") from error
    print(f"sheet: {path}")


def _estimate(image: Tensor) -> tuple[Tensor, str]:
    net = depth_nets.vgg_head()
    return depth_nets.estimate_depth(net, image), net.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
