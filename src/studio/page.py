"""The page as a whole: its tabs, its looks, and whom it answers."""

import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio import processing_utils
from gradio.themes.utils.fonts import Font
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from src.core.errors import InputError
from src.studio.compare import Compare
from src.studio.files import Files
from src.studio.paint import FIRST, Paint
from src.studio.queue import Queue

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

USER = "studio"
MOST_UPLOAD = "200mb"
# Fonts of the system: the theme's own would be asked for somewhere else.
THEME = gr.themes.Default(
    font=[Font("system-ui"), Font("sans-serif")],
    font_mono=[Font("ui-monospace"), Font("monospace")],
    primary_hue="orange",
)


async def _refuse(url: str) -> Any:
    raise ValueError("nothing is fetched")


# A request that is made by hand may name an address in place of a file that was uploaded.
processing_utils.async_ssrf_protected_get = _refuse


class Guard:
    """Refuses what another page in the same browser may send, and addresses to fetch."""

    def __init__(self, app: "ASGIApp", hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer, or hand on."""
        if scope["type"] == "http":
            headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
            host, origin = headers.get(b"host", ""), headers.get(b"origin")
            is_other = bool(self._hosts) and host.rpartition(":")[0] not in self._hosts
            is_foreign = origin is not None and origin.partition("://")[2] != host
            path = scope["path"].lower().replace(" ", "")
            is_address = "proxy=" in path or "file=http:" in path or "file=https:" in path
            if is_other or is_foreign or is_address:
                await PlainTextResponse("not served", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def build(files: Files, queue: Queue) -> gr.Blocks:
    """The page for an outputs folder and its queue."""
    title = "Depth in neural style transfer"
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
        with gr.Tab("Paint"):
            Paint(files, queue, page)
        with gr.Tab("Compare") as tab:
            Compare(files, queue, tab)
    return page


def serve(outputs: Path, host: str, port: int | None, password: str | None) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        InputError: the address is not this machine's, or the port is taken.
    """
    try:
        with socket.create_server((host, port or 0)) as free:
            port = free.getsockname()[1] if port == 0 else port
    except OSError as error:
        expected = "an address of this machine, and a free port"
        raise InputError("--host and --port", f"{host} and {port}", expected) from error
    files = Files(outputs)
    queue = Queue(files.outputs)
    page = build(files, queue)
    local = ("127.0.0.1", "localhost")
    hosts = frozenset(local if host in local else ())
    options: dict[str, Any] = {
        "app_kwargs": {"middleware": [Middleware(Guard, hosts=hosts)]},
        "css_paths": Path(__file__).parent / "studio.css",
    }
    _, address, _ = page.launch(
        **options,
        server_name=host,
        server_port=port,
        auth=(USER, password) if password else None,
        allowed_paths=[str(files.outputs)],
        max_file_size=MOST_UPLOAD,
        theme=THEME,
        share=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        footer_links=[],
        quiet=True,
        prevent_thread_lock=True,
    )
    print(f"the page: {address}", flush=True)
    queue.start()
    try:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(0.0002)  # seconds: torch is imported while the browser loads the page
        from src.studio.preview import preview

        with suppress(InputError):
            preview(f"+experiment={FIRST}")  # what it shows first
        sys.setswitchinterval(usual)
        page.block_thread()
    finally:
        page.close(verbose=False)  # whose threads would else go on
