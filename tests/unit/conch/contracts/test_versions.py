"""What is a version, said once."""

from pathlib import Path

import pytest

from conch.contracts.versions import is_version, latest_version, versions


@pytest.mark.parametrize("name", ["1", "10", "987654321"])
def test_positive_numbers_are_versions(name: str) -> None:
    assert is_version(name)


@pytest.mark.parametrize("name", ["0", "02", "-1", "1.5", "", "one", "²", "٣", "1\n", " 1", "warmup"])
def test_nothing_else_is(name: str) -> None:
    assert not is_version(name)


def test_the_newest_is_the_highest_number_that_is_a_folder(tmp_path: Path) -> None:
    for name in ("2", "10", "9", "011", "warmup"):
        (tmp_path / "net" / name).mkdir(parents=True)
    (tmp_path / "net" / "12").touch()
    assert versions(tmp_path / "net") == [2, 9, 10]
    assert latest_version(tmp_path, "net") == tmp_path / "net" / "10"
    assert latest_version(tmp_path, "none") is None
