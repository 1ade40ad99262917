"""The command: where the page is, and who may see it."""

import argparse
import importlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated
from unittest import mock

from src.core.errors import InputError
from src.core.settings import Range, check_value
from src.pipeline.config import exit_status

LOCAL = "127.0.0.1"
# Before gradio is imported: no statistics, no look for a newer version.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}


def studio(options: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    if options.host not in (LOCAL, "localhost") and not options.password:
        expected = f"--password with it, or {LOCAL}, which this machine alone sees"
        raise InputError("--host", f"'{options.host}' without a password", expected)
    if options.port is not None:
        check_value("--port", options.port, Annotated[int, Range(0, high=65535)])
    os.environ |= QUIET
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), LOCAL, "localhost"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which runs inherit
    with tempfile.TemporaryDirectory(prefix="studio-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # for what is dropped, until it is kept
        _import_gradio()
        from src.studio.page import serve

        serve(options.outputs, options.host, options.port, options.password)


def _import_gradio() -> None:
    try:
        # It would look through its own sources at each start, to write stubs beside them: 2 s.
        with mock.patch("inspect.getfile", side_effect=OSError):
            importlib.import_module("gradio")
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise InputError("gradio", "no such package", "it, from the extra `studio`") from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command; on an error print one line."""
    about = "A page on this machine: photo, depth, mask, run, compare. Nothing leaves the machine."
    parser = argparse.ArgumentParser(prog="python -m src.studio", description=about)
    parser.add_argument("--port", type=int, help="of the page (the first free one from 7860)")
    parser.add_argument("--host", default=LOCAL, help=f"to listen on ({LOCAL}); others: a password")
    parser.add_argument("--password", help="asked for, with the user `studio`")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of the runs")
    return exit_status(lambda: studio(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
