import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import conch.report
from conch.report.searches import search_rows


def test_a_search_counts_for_the_version_that_it_was_run_of(tmp_path: Path) -> None:
    folder = tmp_path / "report" / "load-capacity"
    folder.mkdir(parents=True)
    found = {"promise": "p99<5ms", "kept_per_s": 90.0, "not_kept_per_s": 99.0, "limited_by_generator": False}
    (folder / "cnn.json").write_text(json.dumps(found | {"golden_sha256": "new"}))
    (folder / "cnn.html").write_text("page")
    (tmp_path / "report" / "load-profile").mkdir()
    (tmp_path / "report" / "load-profile" / "cnn.json").write_text("[]")

    def rows(golden: str) -> list[dict[str, str]]:
        model: Any = SimpleNamespace(name="cnn", published={"sha256": {"golden": golden}})
        return search_rows([model], tmp_path)

    (row,) = rows("new")
    assert row["says"] == "p99<5ms: kept at 90/s, above that 99/s (not kept)"
    assert row["page"] == "load-capacity/cnn.html"
    assert rows("old")[0]["says"] == "the one at hand is of another version"


def test_the_report_says_what_kind_of_loop_a_load_was() -> None:
    template = (Path(conch.report.__file__).parent / "page.html.j2").read_text()
    assert "closed loop, paced" not in template
    assert '"closed loop" if model.load.arrivals == "closed" else "open loop, "' in template
