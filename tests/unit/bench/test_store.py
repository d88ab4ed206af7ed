"""Results are read as they were written, or refused in one line that says how to make them again."""

from pathlib import Path
from typing import Any

import pytest

from conch.contracts.errors import ConchError
from tests.bench import store
from tests.bench.training.headline import results as headline
from tests.bench.training.headline.runs import RUNS
from tests.bench.training.studies import results as studies

PUBLISHED = Path(__file__).parents[3] / "docs" / "training"


def value(content: dict[str, Any]) -> Any:
    return content["value"]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "one.json"
    assert store.read(file, value, "again") is None
    store.write(file, {"value": [1.5, "a"]})
    assert store.read(file, value, "again") == [1.5, "a"]
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "JSONDecodeError"),
        (b"\xff", "UnicodeDecodeError"),
        (b"[]", "TypeError"),
        (b"null", "AttributeError"),
        (b"{}", "KeyError: 'value'"),
        (b'{"format": 2, "value": 1}', "format 2, known is 1"),
    ],
)
def test_a_damaged_result_names_the_command_that_makes_it_again(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "one.json"
    file.write_bytes(content)
    with pytest.raises(ConchError, match=rf"one\.json is damaged.*{why}.*; delete it and .* again: do it$") as told:
        store.read(file, value, "do it")
    assert "\n" not in str(told.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConchError, match="IsADirectoryError"):
        store.read(tmp_path, value, "do it")


def test_published_results_are_read_and_written_as_they_are(tmp_path: Path) -> None:
    found = [headline.read_result(run, PUBLISHED) for run in RUNS]
    for result in (*found, *(studies.read_result(name, PUBLISHED) for name in ("depth", "initialisation"))):
        if result:
            result.write(tmp_path)
    published, written = ({file.name: file.read_bytes() for file in at.glob("*.json")} for at in (PUBLISHED, tmp_path))
    assert written == published
