"""`conch page` in a real browser: what each kind of model shows, by mouse, keyboard and on a phone."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients import connect
from clients.__main__ import main as call
from conch.page.prepared import data_uri
from conch.page.showing import number
from serving.server.server import Server
from tests.support.browser import chromium, running_page
from tests.support.page_models import publish_page_models
from tests.support.page_site import SECONDS, WAYS, Site, answer, opened, run_all, wait_for


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All small models behind a page."""
    folder = tmp_path_factory.mktemp("page")
    with chromium() as browser:
        publish_page_models(folder / "models")
        with (
            Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server,
            running_page(server.http, server.metrics, folder) as address,
        ):
            yield Site(address, server, browser, folder)


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    """A stroke of the mouse through points of the sheet, from 0 to 1."""
    sheet = page.locator("canvas.sheet")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def first_bar(page: Any) -> str:
    """The label of the highest class."""
    return str(answer(page).locator("table.bars tr").first.locator("th").inner_text())


def digits(page: Any, site: Site) -> None:
    """A sample, a drawn digit in a corner of the sheet, an upload, a webcam; another precision beside it."""
    page.get_by_role("button", name="sample 4").click()
    wait_for(page, lambda: first_bar(page) == "3")
    around = [(0.2 + 0.1 * np.cos(t), 0.25 + 0.15 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 24)]
    draw(page, around)
    wait_for(page, lambda: first_bar(page) == "0")
    page.get_by_role("button", name="Clear").click()
    draw(page, [(0.8, 0.3), (0.8, 0.7)])
    wait_for(page, lambda: first_bar(page) == "1")
    page.get_by_label("Compare with").select_option("digits_half version 1")
    answer(page).get_by_text("The difference").wait_for()
    assert answer(page).locator("table.bars").count() == 2
    assert "of 10" in answer(page).inner_text()
    page.get_by_role("button", name="Webcam").click()
    page.get_by_role("button", name="Take the picture").click()
    page.get_by_role("button", name="Webcam").wait_for()
    seven = site.folder / "seven.png"
    Image.fromarray(np.load(site.folder / "models" / "digits" / "1" / "golden.npz")["inputs/image"][7, :, :, 0]).save(
        seven
    )
    page.get_by_label("Upload a picture: image").set_input_files(seven)
    wait_for(page, lambda: first_bar(page) == "7")
    seven.write_bytes(b"no picture")
    page.get_by_label("Upload a picture: image").set_input_files(seven)
    alert = page.get_by_role("alert").filter(has_text="seven.png is no image")
    alert.wait_for()


def denoiser(page: Any, site: Site) -> None:
    """Before and after, side by side, with the anomaly score and that of the samples."""
    wait_for(page, lambda: answer(page).locator("figure img").count() == 2)
    assert "in the samples" in answer(page).inner_text()


def generator(page: Any, site: Site) -> None:
    """A picture of a seed, and the walk to another; from a sample to it; two other seeds."""
    shown, way = answer(page).locator("figure img"), answer(page).locator(".strip img")
    wait_for(page, lambda: way.count() == 8)
    before = shown.get_attribute("src")
    assert before == way.first.get_attribute("src")
    last = way.last.get_attribute("src")
    page.get_by_label("between them").focus()
    page.keyboard.press("End")
    wait_for(page, lambda: shown.get_attribute("src") == last)
    page.get_by_role("button", name="sample 2").click()
    answer(page).get_by_text("From the sample to the second seed").wait_for()
    with connect(site.server.http) as client:
        latent = np.load(site.folder / "models" / "generator" / "1" / "golden.npz")["inputs/latent"][1]
        drawn = data_uri(client.infer("generator", {"latent": latent})["picture"])
    wait_for(page, lambda: shown.get_attribute("src") == way.first.get_attribute("src") == drawn)
    assert way.last.get_attribute("src") == last
    assert page.get_by_label("between them").input_value() == "0"
    assert page.get_by_label("first seed").input_value() == ""
    page.get_by_label("between them").focus()
    page.keyboard.press("End")
    wait_for(page, lambda: shown.get_attribute("src") == last)
    page.get_by_role("button", name="Two others").click()
    answer(page).get_by_text("From the first seed to the second seed").wait_for()
    seeds = [int(page.get_by_label(f"{which} seed").input_value()) for which in ("first", "second")]
    assert seeds != [0, 1]
    assert page.get_by_label("between them").input_value() == "1"


def letters(page: Any, site: Site) -> None:
    """The likeliest next ones while one types; a text that grows; a letter that the model has never seen."""
    page.get_by_label("Text").fill("abc")
    wait_for(page, lambda: first_bar(page) == "d")
    assert answer(page).locator("table.bars tr").count() == 5
    page.get_by_label("temperature").focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="Complete").click()
    wait_for(page, lambda: "abcdefghijk" in page.get_by_label("completion").inner_text())
    answer(page).get_by_text("characters, ").wait_for()
    assert len(page.get_by_label("completion").inner_text()) > 150
    others = {"letters", "letters_stream"}
    (other,) = others - {page.get_by_role("heading", level=1).inner_text()}
    page.get_by_label("Compare with").select_option(other)
    answer(page).get_by_text("at most 0.00 %").wait_for()
    assert answer(page).locator("table.bars").count() == 2
    page.get_by_label("Text").fill("ab!")
    page.get_by_role("alert").filter(has_text="has never seen: '!'").wait_for()


def finder(page: Any, site: Site) -> None:
    """Boxes with their labels over the picture, and a mask."""
    wait_for(page, lambda: answer(page).locator("svg.over rect").count() == 2)
    assert "dog" in answer(page).locator("svg.over text").first.text_content()
    assert answer(page).get_by_alt_text("mask: 32 by 24 pixels").count() == 1
    assert "something bright" in answer(page).locator("table.bars").inner_text()


def stranger(page: Any, site: Site) -> None:
    """A file that came from anywhere: a slider for each number."""
    wait_for(page, lambda: page.get_by_label("features").count() == 4)
    page.get_by_label("features 2").focus()
    page.keyboard.press("End")
    wait_for(
        page, lambda: answer(page).get_by_role("cell", name="best").count() == 0 and "2" in answer(page).inner_text()
    )


def colours(page: Any, site: Site) -> None:
    """A stranger's picture of floats, with a choice of what its pixels are as numbers."""
    red = site.folder / "red.png"
    Image.new("RGB", (40, 20), (255, 0, 0)).save(red)
    page.get_by_label("pixels as numbers").select_option("0 to 255")
    page.get_by_label("Upload a picture: pixels").set_input_files(red)
    answer(page).get_by_role("cell", name="255").wait_for()


def twice(page: Any, site: Site) -> None:
    """Text in, text out."""
    page.get_by_label("text").fill("ship <b>ahoy</b> ")
    answer(page).get_by_text("ship <b>ahoy</b> ship <b>ahoy</b>").wait_for()


def far(page: Any, site: Site) -> None:
    """An array of a file, and one that does not fit."""
    good, bad = site.folder / "good.npy", site.folder / "bad.npy"
    np.save(good, np.full((1, 40), 7, np.float32))
    np.save(bad, np.zeros((2, 3), np.float32))
    page.get_by_label("Choose a file: x").set_input_files(good)
    answer(page).get_by_role("cell", name="-7", exact=True).first.wait_for()
    page.get_by_label("Choose a file: x").set_input_files(bad)
    page.get_by_role("alert").filter(has_text="bad.npy: input 'x' got FP32 [2, 3], allowed is").wait_for()


def nothing(page: Any, site: Site) -> None:
    """What it begins with is enough."""


CHECKS = {
    "digits": digits, "denoiser": denoiser, "generator": generator, "letters": letters, "letters_stream": letters,
    "finder": finder, "stranger": stranger, "colours": colours, "twice": twice, "far": far, "half": nothing,
    "letters_stream?version=1": nothing,
}  # fmt: skip


@pytest.mark.parametrize("model", CHECKS)
def test_each_kind_of_model_is_tried_and_its_call_runs(
    site: Site, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(site, f"/model/{model}") as page:
        answer(page).get_by_text("ran on CPU").first.wait_for()
        CHECKS[model](page, site)
        assert "version 1" in answer(page).inner_text()
        run_all(page, WAYS, tmp_path)


def test_the_commands_know_the_names_of_classes_from_the_configuration(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = site.folder / "bright.png"
    Image.fromarray(np.load(site.folder / "models" / "finder" / "1" / "golden.npz")["inputs/image"][0]).save(picture)
    found = {}
    for command in ("detect", "segment"):
        assert call([command, str(picture), "--model", "finder", "--json", "--url", site.server.http]) == 0
        found[command] = {one["class"]: one["label"] for one in json.loads(capsys.readouterr().out)["found"]}
    assert found == {"detect": {0: "cat", 1: "dog"}, "segment": {0: "ground", 1: "something bright"}}


def difference(page: Any) -> dict[str, list[str]]:
    """The table below both answers: by output its largest and mean difference, and how many numbers are equal."""
    table = answer(page).locator("h3:has-text('The difference') + div table")
    rows = [[cell.inner_text() for cell in row.locator("td").all()] for row in table.locator("tbody tr").all()]
    return {name: cells for name, *cells in rows}


@pytest.mark.parametrize(
    ("path", "other", "answers"),
    [
        ("brighter", "brighter version 1", [("brighter", "2"), ("brighter", "1")]),
        ("brighter?version=1", "brighter version 2", [("brighter", "1"), ("brighter", "2")]),
        ("digits", "digits_half version 1", [("digits", "1"), ("digits_half", "1")]),
    ],
)
def test_versions_and_precisions_side_by_side_on_the_same_input_with_the_difference(
    site: Site, path: str, other: str, answers: list[tuple[str, str]]
) -> None:
    """Each number of the difference is that of two calls of a client with the sample that is shown."""
    (model, _), _ = answers
    with connect(site.server.http) as client:
        images = np.load(site.folder / "models" / model / "1" / "golden.npz")["inputs/image"][:2]
        first, second = (client.infer(name, {"image": images}, version=version) for name, version in answers)
    expected = [
        {
            name: [number(apart.max()), number(apart.mean()), f"{np.count_nonzero(apart == 0)} of {apart.size}"]
            for name in first
            for apart in [np.abs(first[name][n].astype(np.float64) - second[name][n])]
        }
        for n in range(2)
    ]
    with opened(site, f"/model/{path}") as page:
        answer(page).get_by_text("ran on CPU").first.wait_for()
        choose = page.get_by_label("Compare with")
        offered = choose.locator("option").all_inner_texts()
        itself = "{} version {}".format(*answers[0])
        assert offered[0] == "nothing"
        assert other in offered
        assert itself not in offered
        choose.select_option(other)
        for n in range(2):
            page.get_by_role("button", name=f"sample {n + 1}").click()
            wait_for(page, lambda n=n: difference(page) == expected[n])  # type: ignore[misc]
        sides = answer(page).locator(".answers > div")
        assert [side.locator("h3").inner_text() for side in sides.all()] == [itself, other]
        for side, (_, version) in zip(sides.all(), answers, strict=True):
            assert f"version {version}" in side.locator(".times").inner_text()
        if model == "brighter":
            assert expected[0]["picture"] == ["20", "20", "0 of 256"]
            assert answer(page).get_by_alt_text("difference of picture: 16 by 16 pixels").count() == 1
        choose.select_option("nothing")
        wait_for(page, lambda: answer(page).get_by_text("The difference").count() == 0)


def test_calls_over_grpc_run_and_answer(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with running_page(f"grpc://{site.server.grpc}", site.server.metrics, site.folder) as address:
        for model in ("half", "letters_stream"):
            with opened(replace(site, address=address), f"/model/{model}") as page:
                run_all(page, WAYS[1:], tmp_path)


def test_the_server_live_on_a_phone_in_the_dark(site: Site) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True, "is_mobile": True}
    with opened(site, "/", **phone) as page:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="stranger"))
        row.get_by_text("ready").wait_for()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 25, 31)"
        with opened(site, "/model/stranger", **phone) as other:
            other.get_by_label("features 0").wait_for()
            for _ in range(3):
                other.get_by_role("button", name="Ask the model").tap()
                other.wait_for_timeout(300)
            wait_for(page, lambda: row.locator("polyline").get_attribute("points").count("19.0") < 60)
    with opened(site, "/model/digits", **phone) as page:
        wait_for(page, lambda: first_bar(page) == "0")
        for name in ("Ask the model", "Clear"):
            assert page.get_by_role("button", name=name).bounding_box()["height"] >= 40


def test_all_is_done_by_keyboard_and_has_a_name(site: Site) -> None:
    with opened(site, "/model/digits") as page:
        wait_for(page, lambda: first_bar(page) == "0")
        page.locator("canvas.sheet").focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Space")
        for _ in range(8):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        wait_for(page, lambda: first_bar(page) == "1")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, textarea, canvas, a, img")].filter((one) =>
            !(one.textContent.trim() || one.ariaLabel || one.hasAttribute("alt") || one.labels?.length))
            .map((one) => one.outerHTML)"""
        )
        assert nameless == []


def test_a_large_body_is_refused_and_a_foreign_name_too(site: Site) -> None:
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"]
    stolen = subprocess.run(
        [*words, "-H", "Host: evil.example", site.address], capture_output=True, text=True, check=False
    )
    assert stolen.stdout == "400"
    with opened(site, "/model/digits") as page:
        wait_for(page, lambda: first_bar(page) == "0")
        url = page.evaluate("Object.values(mounted_app.elements).find((one) => one.props?.url)?.props.url")
        body = "new Blob([new Uint8Array(17 * 2 ** 20)])"
        status = page.evaluate(f"(url) => fetch(url, {{method: 'POST', body: {body}}}).then((a) => a.status)", url)
        assert status == 413


@pytest.mark.long
def test_a_server_that_stops_is_said_in_a_line_and_comes_back(site: Site, tmp_path: Path) -> None:
    from serving.repository.foreign import publish_file

    publish_file(site.folder / "foreign" / "stranger.onnx", "stranger", tmp_path / "models")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        server = first.enter_context(Server(tmp_path / "models", http_port=0, grpc_port=0, metrics_port=0))
        port = int(server.http.rpartition(":")[2])
        address = stack.enter_context(running_page(server.http, server.metrics, tmp_path))
        context = stack.enter_context(contextlib.closing(site.browser.new_context()))
        page = context.new_page()
        page.goto(address + "/model/stranger")
        answer(page).get_by_text("ran on CPU").first.wait_for()
        first.close()
        page.get_by_role("button", name="Ask the model").click()
        page.get_by_role("alert").filter(has_text="it is waited for").wait_for(timeout=SECONDS)
        answer(page).get_by_role("alert").filter(has_text="no server at").wait_for(timeout=SECONDS)
        assert "Traceback" not in page.content()
        stack.enter_context(Server(tmp_path / "models", http_port=port, grpc_port=0, metrics_port=0))
        wait_for(page, lambda: page.get_by_text("it is waited for").count() == 0)
        page.get_by_role("button", name="Ask the model").click()
        wait_for(page, lambda: answer(page).get_by_role("alert").inner_text() == "")
