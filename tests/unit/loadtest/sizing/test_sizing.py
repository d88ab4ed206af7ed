"""From a measured curve to a number of servers: the server is found again, and every refusal has its reason."""

import copy
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loadtest.errors import CannotRun
from loadtest.sizing.answer import cheapest
from loadtest.sizing.calibration import Calibrated, calibrate
from loadtest.sizing.command import main, show
from loadtest.sizing.curve import read_curve
from loadtest.sizing.fleet import STEPS, Fleet, Question, check_idle
from loadtest.sizing.kinds import read_kinds
from loadtest.sizing.simulation import simulate
from tests.support.measured_curves import known_server, profile_of, write_profile

ROOT = Path(__file__).parents[4]


@cache
def known_profile() -> str:
    return json.dumps(profile_of(known_server()))


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return write_profile(tmp_path / "report" / "load-profile" / "known.json", json.loads(known_profile()))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    path = write_profile(tmp_path_factory.mktemp("profile") / "known.json", json.loads(known_profile()))
    return calibrate(read_curve(path, 99), 99)


def question(limit_ms: float = 25.0, **changes: Any) -> Question:
    usual: dict[str, Any] = {"percent": 99.0, "balancer": "least_outstanding", "zones": 3, "noticed_s": 3.0}
    return Question(**usual | {"limit_ms": limit_ms} | changes)


@pytest.fixture(scope="module")
def fleet(calibrated: Calibrated) -> Fleet:
    return Fleet(calibrated, question())


@pytest.mark.slow
def test_the_server_behind_a_curve_is_found_again(calibrated: Calibrated) -> None:
    truth = known_server()
    assert calibrated.server.capacity == pytest.approx(truth.capacity, rel=0.03)
    assert calibrated.worst_error < 0.05
    for servers, load in ((1, 0.7), (2, 0.5), (2, 0.75), (8, 0.7)):
        rate = servers * load * truth.capacity
        wanted = simulate(truth, servers, rate, 100_000, seed=9).percentile_ms(99)
        got = simulate(calibrated.server, servers, rate, 100_000, seed=11).percentile_ms(99)
        assert got == pytest.approx(wanted, rel=0.06), (servers, load)


def test_no_server_is_given_more_than_was_measured(calibrated: Calibrated) -> None:
    assert calibrated.ceiling == 400
    assert Fleet(calibrated, question(limit_ms=1000)).rate_of_one(32) == 400


def test_the_servers_keep_the_promise_and_one_less_does_not(fleet: Fleet) -> None:
    limit = fleet.question.limit_ms
    for survive in ("nothing", "replica", "zone"):
        servers = fleet.servers_for(5000, survive)
        state = fleet.state(servers, 5000, survive)
        assert state is not None
        assert state.p99_ms <= 1.03 * limit
        assert fleet.keeps(servers - 1, survive) < 5000 <= fleet.keeps(servers, survive)
    nothing, replica, zone = (fleet.servers_for(5000, survive) for survive in ("nothing", "replica", "zone"))
    assert nothing < replica < zone
    assert zone == pytest.approx(1.5 * nothing, abs=1.5), "two of three zones have to do"


@pytest.mark.slow
def test_more_servers_share_better_and_past_the_largest_step_nothing_is_gained(calibrated: Calibrated) -> None:
    tight = Fleet(calibrated, question(limit_ms=16.0))
    rates = [tight.rate_of_one(servers) for servers in (1, 2, 8)]
    assert rates == sorted(rates)
    assert rates[2] > 1.2 * rates[0]
    assert tight.rate_of_one(10_000) == tight.rate_of_one(STEPS[-1])
    kept = tight.rate_of_one(STEPS[-1])
    beyond = simulate(calibrated.server, 4 * STEPS[-1], 4 * STEPS[-1] * kept, 60_000)
    assert beyond.percentile_ms(99) == pytest.approx(16.0, rel=0.1)


def test_ten_thousand_servers_are_found_as_fast(fleet: Fleet) -> None:
    servers = fleet.servers_for(2_000_000, "zone")
    assert 5000 < servers < 20_000
    assert fleet.keeps(servers, "zone") >= 2_000_000 > fleet.keeps(servers - 1, "zone")
    with pytest.raises(CannotRun, match="more than 100000 servers"):
        fleet.servers_for(1e9, "zone")


def test_a_lost_zone_is_noticed_and_then_the_others_do(calibrated: Calibrated) -> None:
    by_turns = Fleet(calibrated, question(balancer="round_robin"))
    servers = by_turns.servers_for(1000, "zone")
    failure = by_turns.failure(servers, 1000, "zone")
    assert failure is not None
    assert failure.lost == -(-servers // 3)
    assert failure.sent_again == pytest.approx(1000 * failure.lost / servers * 3, rel=0.2), "a zone's share of 3 s"
    assert 3000 < failure.slowest_ms < 3500
    assert 3 <= failure.broken_s <= 5
    assert by_turns.failure(servers, 1000, "nothing") is None


def test_a_fleet_that_is_lost_keeps_nothing(fleet: Fleet) -> None:
    assert fleet.keeps(1, "replica") == 0
    assert fleet.state(1, 10, "zone") is None
    assert fleet.state(2, 5000, "nothing") is None, "too much for two"


def test_a_promise_that_an_idle_server_breaks_is_refused(profile: Path) -> None:
    curve = read_curve(profile, 99)
    with pytest.raises(CannotRun, match=r"one server takes 10\.\d ms at 30/s, .*, so no number of them keeps it"):
        check_idle(curve, question(limit_ms=10))
    check_idle(curve, question(limit_ms=11))


def spoil(change: Callable[[dict[str, Any]], Any]) -> Any:
    def changed(profile: dict[str, Any]) -> dict[str, Any]:
        change(profile)
        return profile

    return changed


def each_point(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda profile: [point.update(copy.deepcopy(changes)) for point in profile["points"]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.pop("served"), "does not say 'served', as those of an older Conch do not; measure again"),
        (lambda p: p.pop("points"), "is not what `conch load profile` writes"),
        (lambda p: p["points"].clear(), r"0 usable of 0 points, at least 3 are needed \(nothing was measured\)"),
        (lambda p: p.update(points=p["points"][:2]), "2 usable of 2 points, at least 3"),
        (lambda p: p.update(points=p["points"][3:] * 2), "the lowest usable rate, the server is .* busy, at most 35%"),
        (each_point(requests=100), "30/s: 100 answers, p99 takes 368"),
        (each_point(failures=3), "3 of 18000 requests failed"),
        (each_point(late_share=0.5), "50% of the requests were sent late: it shows the load generator"),
        (each_point(exhausted=9), "the load generator ran out of users"),
        (each_point(server=None), "without the server's statistics"),
        (each_point(histogram=[]), "does not say"),
        (lambda p: p["served"].update(instances=0), "instances and batches of at least 1"),
        (lambda p: p["points"][2]["latency_ms"].update(p50=900), None),
    ],
)  # fmt: skip
def test_a_profile_that_is_not_enough_says_why(profile: Path, change: Callable[[Any], Any], says: str | None) -> None:
    write_profile(profile, spoil(change)(json.loads(profile.read_text())))
    if says is None:
        assert read_curve(profile, 99).unusable == ("120/s: the server did not keep up",)
        return
    with pytest.raises(CannotRun, match=says):
        calibrate(read_curve(profile, 99), 99)


def test_what_is_no_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"cannot read .*none\.json"):
        read_curve(tmp_path / "none.json", 99)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(CannotRun, match="is not what"):
        read_curve(tmp_path / "broken.json", 99)


KIND = "{profile: a.json, price_per_hour: 1}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected kinds of servers by name"),
        ("kinds: [a]", "expected kinds of servers by name"),
        ("{", "is no YAML"),
        (f"kinds: {{a: {KIND}}}\nregion: x", "unknown 'region', known are: currency, kinds"),
        ("kinds: {a: 3}", "a: expected profile and price_per_hour, got 3"),
        ("kinds: {a: {profile: a.json, price_per_hour: 1, cores: 2}}", "unknown 'cores'"),
        ("kinds: {a: {price_per_hour: 1}}", "profile must be the JSON file"),
        ("kinds: {a: {profile: a.json}}", "price_per_hour must be a number from 0 on, got None"),
        ("kinds: {a: {profile: a.json, price_per_hour: yes}}", "got True"),
        ("kinds: {a: {profile: a.json, price_per_hour: .nan}}", "got nan"),
    ],
)
def test_a_file_of_kinds_is_checked(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "kinds.yaml").write_text(text)
    with pytest.raises(CannotRun, match=re.escape(says)):
        read_kinds(tmp_path / "kinds.yaml")


@pytest.mark.slow
def test_the_command_says_how_many_and_leaves_its_curves(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path))
    write_profile(tmp_path / "old.json", {"model": "known", "points": []})
    (tmp_path / "kinds.yaml").write_text(
        "currency: EUR\nkinds:\n  one: {profile: report/load-profile/known.json, price_per_hour: 0.1}\n"
        "  old: {profile: old.json, price_per_hour: 0.01}\n"
    )
    words = ["--promise", "p99=25ms", "--rate", "1500", "--kinds", str(tmp_path / "kinds.yaml"), "--months", "2"]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert "error: old: " in said.err
    assert [entry["kind"] for entry in found["refused"]] == ["old"]
    (one,) = found["kinds"]
    assert found["cheapest"] == "one"
    assert one["servers"] == one["needed"]["zone"] > one["needed"]["replica"] > one["needed"]["nothing"]
    assert one["price"] == pytest.approx(one["servers"] * 0.1 * 730)
    assert [month["rate"] for month in one["months"]] == [1500, 1800, 2160]
    assert one["months"][2]["servers"] > one["servers"]
    assert [point["servers"] for point in one["curve"]][-1] == 10_000
    picture = tmp_path / "report" / "size" / "one.svg"
    assert json.loads(picture.with_suffix(".json").read_text()) == found
    assert picture.read_text().startswith("<svg")
    page = (ROOT / "docs" / "json.md").read_text()
    (section,) = re.findall(r"^## conch size\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert {key for key in (*found, *one) if f"`{key}`" not in section} == set()
    show(found, picture)
    shown = capsys.readouterr().out
    for part in ("idle p99 ms", "a zone lost", "sent again", "20% more a month", "the curve of one server", " EUR"):
        assert part in shown


def test_the_cheapest_kind_is_that_whose_servers_cost_least_and_without_prices_the_fewest() -> None:
    few, many = {"kind": "few", "servers": 3}, {"kind": "many", "servers": 9}
    assert cheapest([few | {"price": 30.0}, many | {"price": 20.0}])["kind"] == "many"
    assert cheapest([many | {"price": None}, few | {"price": None}])["kind"] == "few"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--promise", "p42<1ms"), "expected p50, p95 or p99 and a limit"),
        (("--rate", "0"), "--rate 0"),
        (("--rate", "nan"), "--rate nan"),
        (("--zones", "1"), "at least 2 to survive the loss of one"),
        (("--months", "99"), "--months 99"),
        (("--kinds", "none.yaml"), "cannot read none.yaml"),
        (("other",), "no profile of 'other'"),
        (("--promise", "p99=4ms"), "so no number of them keeps it"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("CONCH_ARTIFACTS", str(tmp_path))
    rest = [word for pair in (("--promise", "p99=25ms"), ("--rate", "9")) if pair[0] not in words for word in pair]
    assert main([*words, *rest]) == 1
    error = capfd.readouterr().err.strip()
    assert says in error
    assert error.count("\n") == 0
