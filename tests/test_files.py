"""Files are written whole or not at all."""

import os
from pathlib import Path

import pytest

from src.core.files import read_regular, replace_whole, write_json, write_text


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


def test_no_link_is_followed_and_no_part_stays(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    folder.mkdir()
    victim.write_text("mine")
    for name in ("a.txt", ".a.txt.part", ".a.txt.0123abcd.part"):
        (folder / name).symlink_to(victim)
    old = os.lstat(victim).st_mtime - 7200
    os.utime(folder / ".a.txt.0123abcd.part", (old, old), follow_symlinks=False)
    (folder / ".b.txt.0123abcd.part").touch()  # of a writer that may be at work
    before = os.umask(0o027)
    write_text(folder / "a.txt", "new")
    os.umask(before)
    assert (victim.read_text(), (folder / "a.txt").read_text()) == ("mine", "new")
    assert os.lstat(folder / "a.txt").st_mode == 0o100640
    assert {path.name for path in folder.iterdir()} == {
        *("a.txt", ".a.txt.part", ".b.txt.0123abcd.part")
    }


def test_only_regular_files_of_some_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    os.mkfifo(tmp_path / "pipe")
    assert read_regular(tmp_path / "a", 3) == b"abc"
    for path, most in ((tmp_path / "a", 2), (tmp_path / "pipe", 9), (Path("/dev/zero"), 9)):
        with pytest.raises(OSError, match=r"regular|larger"):
            read_regular(path, most)
