"""Files of a run: whole or not there."""

from pathlib import Path

import pytest

from src.core.files import write_json
from src.runs.writer import RunWriter, TermsLog


def test_a_broken_write_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RunWriter(tmp_path / "run").path / "summary.json"
    write_json(file, {"status": "interrupted"})
    write_json(file, {"status": "done"})
    before = file.read_text()

    def full_disk(self: Path, text: str, **_: object) -> None:
        with self.open("w") as part:
            part.write(text[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_json(file, {"status": "failed"})
    assert file.read_text() == before == '{\n  "status": "done"\n}\n'
    assert not list(file.parent.glob(".*"))


def test_terms_are_written_as_they_come(tmp_path: Path) -> None:
    file = TermsLog(RunWriter(tmp_path))
    file.add(0, {"total": 1.5, "content": 0.1, "style": 2.0})
    file.add(10, {"total": 0.25, "content": 1e-12, "style": 1.0})
    assert (tmp_path / "terms.csv").read_text().split() == [
        "step,total,content,style",
        "0,1.5,0.1,2.0",
        "10,0.25,1e-12,1.0",
    ]


def test_a_table_that_was_opened_and_not_written_is_none(tmp_path: Path) -> None:
    RunWriter(tmp_path / "a")
    (tmp_path / "a" / "frames.csv").touch()
    table = TermsLog(RunWriter(tmp_path / "b"), tmp_path / "a", 1, "frames.csv")
    table.add(1, {"total": 1.0})
    assert (tmp_path / "b" / "frames.csv").read_text() == "frame,total\n1,1.0\n"


def test_a_resumed_run_keeps_the_rows_before_its_start(tmp_path: Path) -> None:
    first = TermsLog(RunWriter(tmp_path / "a"))
    for step in (0, 10, 13):
        first.add(step, {"total": float(step), "content": 0.5})
    second = TermsLog(RunWriter(tmp_path / "b"), tmp_path / "a", start=13)
    second.add(20, {"total": 20.0, "content": 0.5})
    steps = [row.split(",")[0] for row in (tmp_path / "b/terms.csv").read_text().split()[1:]]
    assert steps == ["0", "10", "20"]
