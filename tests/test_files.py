"""Files are written whole or not at all."""

from pathlib import Path

import pytest

from src.core.files import replace_whole, write_json


def break_in_the_middle(path: Path) -> None:
    with replace_whole(path) as part:
        part.write_text("half")
        raise KeyError


def test_a_block_that_breaks_leaves_what_was_there(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None]})
    text = (tmp_path / "a.json").read_text()
    assert text == '{\n  "a": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(KeyError):
        break_in_the_middle(tmp_path / "a.json")
    assert [path.read_text() for path in tmp_path.iterdir()] == [text]
