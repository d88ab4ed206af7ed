from typing import Any

from loadtest.search_page import capacity_page, profile_page

OF = {
    "model": "<cnn>",
    "model_version": "3",
    "started": "2026-01-02T03:04:05.000+00:00",
    "machine": {"cpu": "a processor", "cores": 2},
}


def test_the_page_of_a_capacity_says_what_was_found_and_every_step() -> None:
    steps = [{"rate": 100.0, "finding": "kept"}, {"rate": 200.0, "finding": "not kept"}]
    found = {"promise": "p99<5ms", "kept_per_s": 100.0, "not_kept_per_s": 200.0, "limited_by_generator": False}
    text = capacity_page(OF | found | {"steps": steps})
    assert "p99&lt;5ms: kept at 100/s, above that 200/s (not kept)" in text
    assert "<td>200</td><td>not kept</td>" in text
    assert "no higher rate was tried" in capacity_page(OF | found | {"steps": steps, "not_kept_per_s": None})


def test_the_page_of_a_profile_has_its_picture_and_lives_without_a_point() -> None:
    latency = {"p50": 1.0, "p95": 2.0, "p99": None}
    points: list[dict[str, Any]] = [
        {"rate": rate, "requests_per_s": rate, "latency_ms": latency, "service_ms": latency, "late_share": 0.0,
         "failures": 0}
        for rate in (50.0, 80.0)
    ]  # fmt: skip
    text = profile_page(OF | {"points": points, "collapsed": False})
    assert "50 to 80 requests/s, without a collapse" in text
    assert "<svg" in text
    assert "n too small" in text
    assert "no rate was held" in profile_page(OF | {"points": [], "collapsed": False})
