"""The command: where, and whether it worked."""

import argparse
import sys
from pathlib import Path

from src.core.errors import InputError, printable
from src.gallery.page import write_gallery


def main(arguments: list[str] | None = None) -> int:
    """Write the page and print where it is; on an error one line."""
    about = "One page of all runs in a folder: FOLDER/index.html, to be opened from disk."
    parser = argparse.ArgumentParser(prog="python -m src.gallery", description=about)
    folder = "of a run, of a sweep, or one above (outputs)"
    parser.add_argument("folder", metavar="FOLDER", type=Path, help=folder)
    try:
        page = write_gallery(parser.parse_args(arguments).folder)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(printable(f"done: {page}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
