"""Make the pictures of artists.md from its own commands: python docs/artists.py [key=value ...].

What is given is added to every command; the pictures go to docs/artists/, or to `out=FOLDER`.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PAGE = Path(__file__).with_suffix(".md")
EXAMPLE = re.compile(r"```\n(python -m src\.run .+)\n```\n\n!\[.+\]\(artists/(\w+)\.jpg\)")


def main(arguments: list[str]) -> None:
    """Run every command and save what it makes."""
    given = dict(argument.split("=", 1) for argument in arguments)
    out = Path(given.pop("out", PAGE.with_suffix("")))
    extra = [f"{key}={value}" for key, value in given.items()]
    for command, name in EXAMPLE.findall(PAGE.read_text()):
        with tempfile.TemporaryDirectory() as folder:
            options = [*shlex.split(command)[1:], f"output_dir={folder}", "tracking=off", *extra]
            subprocess.run([sys.executable, *options], cwd=PAGE.parents[1], check=True)
            (picture,) = Path(folder).glob("*/*/pastiche.png")
            with Image.open(picture) as image:
                image.convert("RGB").save(out / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main(sys.argv[1:])
