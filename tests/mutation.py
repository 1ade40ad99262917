"""Which mistakes would no test see? `python tests/mutation.py --count 100 src/masks.py ...`.

Makes one mistake at a time in a copy of the tree and runs the tests that belong to the file: a
mistake that they do not notice is printed as `file:line old -> new`. Always exits with 0.
"""

import argparse
import ast
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from subprocess import DEVNULL as NULL

ROOT = Path(__file__).resolve().parent.parent
TESTS = {  # pytest's arguments, for the first beginning of a path; else the test file of its name
    "src/losses/": "test_losses.py",
    "src/pipeline/resume.py": "test_config.py test_run.py -k 'checkpoint or resume'",
    "src/pipeline/stylize.py": "test_run.py -k 'resume or every_file'",
    "src/pipeline/sweep.py": "test_sweep.py -k 'runs_once or interrupted or locked'",
    "src/run.py": "test_sweep.py -k 'runs_once or interrupted or locked'",
    "src/training/__main__.py": "test_train.py",
    "src/tracking/callbacks.py": "test_stylization.py test_tracking.py test_run.py -k 'not wandb'",
    "src/core/files.py": "test_files.py test_weights.py",
    "src/inputs/holes.py": "test_depth_maps.py",
    "src/inputs/xmp.py": "test_embedded.py",
    "src/gallery/": "test_gallery.py",
    "src/studio/": "test_studio.py -k 'command or formula or the_mask or dropped or below'",
    "src/rendering/": "test_rendering.py -k 'not page and not browser'",
}
PAIRS = [(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot)]
PAIRS += [(ast.In, ast.NotIn), (ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.Div)]
SWAPS = dict(PAIRS) | {second: first for first, second in PAIRS}


def replacements(node: object) -> Iterator[ast.AST]:
    """What may stand for a node by mistake."""
    match node:
        case ast.operator() | ast.cmpop() | ast.boolop() if type(node) in SWAPS:
            yield SWAPS[type(node)]()
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield from (ast.Constant(new) for new in {2 * value, value + 1} - {value})
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Call(func=ast.Attribute(attr="replace")):
            yield node.func.value
        case ast.Expr(value=ast.Call()) | ast.Raise():
            yield ast.Pass()
        case ast.With(items=[ast.withitem(optional_vars=None)]):  # a lock
            yield ast.If(ast.Constant(True), node.body, [])
        case ast.Return(value=value) if value and ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))


def mutants(file: str) -> Iterator[tuple[str, str]]:
    """What is changed, and the text of the changed file."""
    tree = ast.parse((ROOT / file).read_text())
    fields = [(p, name, field) for p in ast.walk(tree) for name, field in ast.iter_fields(p)]
    for parent, name, field in fields:
        children = field if isinstance(field, list) else [field]
        for i, child in enumerate(children):
            for new in replacements(child):
                before = copy(parent)
                among = [*children[:i], new, *children[i + 1 :]]
                setattr(parent, name, among if isinstance(field, list) else new)
                shown = (child, new) if isinstance(child, ast.stmt) else (before, parent)
                words = " -> ".join(" ".join(ast.unparse(x).split())[:80] for x in shown)
                line = getattr(child, "lineno", getattr(parent, "lineno", 0))
                yield f"{line} {words}", ast.unparse(ast.fix_missing_locations(tree))
                setattr(parent, name, field)


def passes(tree: Path, tests: str, timeout: float) -> bool:
    """Whether the tests pass in time; what they started ends with them."""
    command = ["timeout", "-s", "KILL", str(timeout), sys.executable, "-m", "pytest"]
    command += ["-xqp", "no:cacheprovider", *shlex.split(tests.replace("test_", "tests/test_"))]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.call(command, cwd=tree, env=environment, stdout=NULL, stderr=NULL) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", help="files or folders in src/")
    parser.add_argument("--count", type=int, default=100, help="mutants, shared among the files")
    parser.add_argument("--only", default="", help="words that a mutant's line has")
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    listed = subprocess.check_output(["git", "ls-files", *settings.paths], cwd=ROOT, text=True)
    files = [name for name in listed.split() if name.endswith(".py")]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "outputs"))
        limits: dict[str, float] = {}
        for file in files:
            own = f"test_{Path(file).stem}.py"
            own = own if (ROOT / "tests" / own).exists() else "test_inputs.py"
            tests = next((tests for path, tests in TESTS.items() if file.startswith(path)), own)
            if tests not in limits:
                began = time.monotonic()
                assert passes(tree, tests, 3600), f"{tests} fails without a mutant"
                limits[tests] = 30 + 3 * (time.monotonic() - began)
            chosen = [mutant for mutant in mutants(file) if settings.only in mutant[0]]
            count = min(len(chosen), -(-settings.count // len(files)))
            survived = 0
            for change, text in random.Random(settings.seed).sample(chosen, count):
                (tree / file).write_text(text)
                if passes(tree, tests, limits[tests]):
                    survived += 1
                    print(f"{file}:{change}", flush=True)
            shutil.copy(ROOT / file, tree / file)
            print(f"{file}: {count - survived} of {count} killed", flush=True)


if __name__ == "__main__":
    main()
