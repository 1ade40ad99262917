"""STRICT=1: a skipped test is a failed one, and so is a skipped module."""

import conftest
import pytest

pytest_plugins = "pytester"

SKIPPING = """
import pytest

@pytest.fixture
def lost():
    pytest.skip("no browser")

def test_fixture(lost): pass

@pytest.mark.skipif(True, reason="no data")
def test_mark(): pass

def test_inside(): pytest.importorskip("nowhere")

def test_good(): pass
"""


def test_a_skip_is_told_and_with_strict_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_a=SKIPPING, test_b="import pytest; pytest.importorskip('nowhere')")
    arguments = ["-ra", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    monkeypatch.setenv("STRICT", "0")
    result = pytester.inline_run(*arguments, plugins=[conftest])
    assert [len(kind) for kind in result.listoutcomes()] == [1, 4, 0]
    monkeypatch.setenv("STRICT", "1")
    result = pytester.inline_run(*arguments, plugins=[conftest])
    passed, skipped, failed = result.listoutcomes()
    assert [len(passed), len(skipped)] == [1, 0]
    told = " ".join(report.longrepr for report in failed)
    for reason in ("no browser", "no data", "could not import 'nowhere'"):
        assert f"STRICT=1, but Skipped: {reason}" in told
    assert result.ret == pytest.ExitCode.TESTS_FAILED
