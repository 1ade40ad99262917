"""What is said of commands and runs, as HTML."""

import html
import math
import time

from src.runs.reader import Run
from src.studio.choices import command
from src.studio.queue import Queue

WIDTH, HEIGHT = 320, 110  # of the curves' drawing
COLORS = ("#e4572e", "#2e86de", "#2a9d58", "#9b59b6", "#b7791f", "#0e7c86")


def problem(text: object) -> str:
    """One line that says what cannot be used; empty for an empty text."""
    return f'<p class="problem" role="alert">{html.escape(str(text))}</p>' if text else ""


def code(text: str) -> str:
    """A command line."""
    return f"<p><code>{html.escape(text)}</code></p>"


def progress(queue: Queue, run: Run | None) -> str:
    """What goes on, what waits, what was wrong with the last command, the run that is shown."""
    parts, current = [], queue.current
    if current is not None:
        parts.append(f"<p><b>running</b></p>{code(command(*current.words))}")
        done, steps, left = queue.progress() or (0, 0, 0)
        value, text = "", f"{time.time() - current.began:.0f} s so far"
        if steps:
            value, text = f' value="{done}" max="{steps}"', f"step {done} of {steps}, {left} s left"
        parts.append(f"<progress{value}></progress><p>{text}</p>")
    parts += [f"<p>waiting</p>{code(command(*words))}" for words in queue.waiting()]
    parts.append(problem(queue.problem()))
    if run is not None:
        is_running = current is not None and run.status == "unfinished"
        said = "" if is_running else f"{run.status}. {run.reason}"
        if run.status == "done":
            said += f"{run.summary.get('steps')} steps in {run.summary.get('seconds')} s"
        name = "/".join(run.path.parts[-2:])
        parts.append(f"<p><b>{html.escape(name)}</b> {html.escape(said)}</p>{curves(run)}")
    return f'<div class="progress">{"".join(parts)}</div>'


def curves(run: Run) -> str:
    """The terms by step, each between its own smallest and largest value, by logarithm."""
    table = {name: column for name, column in run.terms.items() if name != "step" and column}
    # `style_main` is `style` where there is one painting.
    names = [n for n in table if not n.startswith("style_") or table[n] != table.get("style")]
    lines, labels = [], []
    for name, color in zip(names, COLORS * len(names), strict=False):
        values = [math.log(max(value, 1e-12)) for value in table[name]]
        low, high = min(values), max(values)
        points = " ".join(
            f"{i * WIDTH / max(1, len(values) - 1):.1f},"
            f"{HEIGHT - 4 - (value - low) / (high - low or 1) * (HEIGHT - 8):.1f}"
            for i, value in enumerate(values)
        )
        lines.append(f'<polyline style="stroke:{color}" points="{points}"/>')
        label = f"{html.escape(name)} {table[name][-1]:.3g}"
        labels.append(f'<span style="color:{color}">{label}</span>')
    return (
        f'<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="terms by step">{"".join(lines)}</svg>'
        f'<p class="legend">{" ".join(labels)}</p>'
    )
