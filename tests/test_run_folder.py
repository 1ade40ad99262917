"""Files of a run: whole or not there."""

from pathlib import Path

import pytest
import torch

from src.run_folder import RunFolder, TermsFile


def test_a_broken_write_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.json("summary.json", {"status": "done"})
    before = (folder.path / "summary.json").read_text()

    def full_disk(self: Path, text: str, **_: object) -> None:
        with self.open("w") as file:
            file.write(text[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        folder.json("summary.json", {"status": "failed"})
    assert (folder.path / "summary.json").read_text() == before
    assert not list(folder.path.glob(".*"))


def test_a_picture_is_written_below_the_folder(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).picture("inputs/content.png", torch.zeros(1, 3, 4, 5))
    assert path == tmp_path / "inputs/content.png"
    assert path.stat().st_size > 0


def test_terms_are_written_as_they_come(tmp_path: Path) -> None:
    file = TermsFile(RunFolder(tmp_path))
    file.add(0, 1.5, {"content": 0.1, "style": 2.0})
    file.add(10, 0.25, {"content": 1e-12, "style": 1.0})
    assert (tmp_path / "terms.csv").read_text().split() == [
        "step,total,content,style",
        "0,1.5,0.1,2.0",
        "10,0.25,1e-12,1.0",
    ]


def test_a_resumed_run_keeps_the_rows_before_its_start(tmp_path: Path) -> None:
    first = TermsFile(RunFolder(tmp_path / "a"))
    for step in (0, 10, 13):
        first.add(step, float(step), {"content": 0.5})
    second = TermsFile(RunFolder(tmp_path / "b"), tmp_path / "a/terms.csv", start=13)
    second.add(20, 20.0, {"content": 0.5})
    steps = [row.split(",")[0] for row in (tmp_path / "b/terms.csv").read_text().split()[1:]]
    assert steps == ["0", "10", "20"]
