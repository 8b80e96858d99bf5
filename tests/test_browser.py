"""The pages in a real browser: nothing is asked of anyone, nothing hostile acts, and the keyboard is enough."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mkg_builder.report import render_report
from tests.explorer import explorer
from tests.planting import rewrite, rows
from tests.test_vlkge_cli import ART, FAST, RUN, SPLITS, told
from tests.tiny_release import picture_bytes, write_tiny_release
from vlkge.protocol import make_protocol
from vlkge.report import render_run_report
from vlkge.run import find_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and its driver: apt-get install chromium chromium-driver"
)
EVIL = "</script><img src=x onerror=window.acted=1><svg onload=window.acted=1>{{7*7}}${7*7}"
PHONE = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--window-size=1100,900", *sandbox):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Any:
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    return chromium


@pytest.fixture(scope="module")
def demo(demo_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with explorer(demo_release, tmp_path_factory.mktemp("cache")) as address:
        yield address


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose every label and text is hostile, and a run on it."""
    place = tmp_path_factory.mktemp("hostile")
    born = [(f"artist:painter-{i}", "wasBornIn", f"country:{name}") for i, name in enumerate(("chad", "peru", "x"))]
    splits = SPLITS | {"train": SPLITS["train"] + born}
    release = write_tiny_release(place / "release", splits, {art: picture_bytes(i) for i, art in enumerate(ART)})
    for table in ("entities", "artworks"):
        changed = [
            row | {"label": EVIL} | ({"text": EVIL} if "text" in row else {}) for row in rows(release, table, "full")
        ]
        rewrite(release, table, "full", changed)
    rewrite(release, "dropped", "full", [{"id": EVIL, "rule": EVIL, "detail": EVIL}])
    told("encode", "release", cwd=place)
    told("train", "--dataset", "release", *FAST[:-1], cwd=place)
    return place


def file(place: Path, text: str) -> str:
    place.write_text(text, encoding="utf-8")
    return place.as_uri()


def asked_of(browser: Any) -> set[str]:
    """Every address that was asked for since the log was last read."""
    told = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {m["params"]["request"]["url"] for m in told if m["method"] == "Network.requestWillBeSent"}


def acted(browser: Any) -> list[Any]:
    """What hostile text has achieved: a global of its own, new elements, arithmetic."""
    return browser.execute_script(
        "return [window.acted, document.querySelectorAll('script, img[src=x], [onerror], svg[onload]').length]"
    )


def test_the_report_is_quiet_and_alone(browser: Any, demo_release: Path, tmp_path: Path) -> None:
    address = file(tmp_path / "report.html", render_report(demo_release))
    browser.get(address)
    assert browser.get_log("browser") == []
    assert {url for url in asked_of(browser) if not url.startswith("data:")} == {address}
    broken = "return [...document.images].filter(i => (i.loading = 'eager', i.complete && !i.naturalWidth)).length"
    assert browser.execute_script(broken) == 0


def test_the_style_sheet_of_the_report_is_applied(browser: Any, demo_release: Path, tmp_path: Path) -> None:
    browser.get(file(tmp_path / "report.html", render_report(demo_release, 0)))
    shade = "return getComputedStyle(document.querySelector('td.h10')).backgroundColor"
    assert browser.execute_script(shade).startswith("rgba(47, 93, 138")


def test_the_map_is_drawn_and_coloured_in_light_and_dark(browser: Any, demo_release: Path, tmp_path: Path) -> None:
    browser.get(file(tmp_path / "report.html", render_report(demo_release, 0, checked=False)))
    look = (
        "return ['FR', 'TD'].map(code => { const use = document.querySelector(`use[href='#land-${code}']`);"
        "return [use.querySelector('title').textContent, use.getBoundingClientRect().width > 5,"
        "getComputedStyle(use).fill]})"
    )
    light = [["France: 23", True, "rgb(23, 52, 99)"], ["Chad: 0", True, "rgb(228, 228, 223)"]]
    dark = [["France: 23", True, "rgb(177, 233, 248)"], ["Chad: 0", True, "rgb(43, 49, 54)"]]
    assert browser.execute_script(look) == light
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    found = browser.execute_script(look)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found == dark
    assert browser.get_log("browser") == []


def test_hostile_names_do_nothing_in_the_report(browser: Any, hostile: Path, tmp_path: Path) -> None:
    browser.get(file(tmp_path / "report.html", render_report(hostile / "release")))
    assert acted(browser) == [None, 0]
    for section in ("samples", "countries"):
        assert "{{7*7}}${7*7}" in browser.find_element("id", section).text
    assert browser.get_log("browser") == []


def test_hostile_names_do_nothing_in_the_report_of_a_run(browser: Any, hostile: Path, tmp_path: Path) -> None:
    text = render_run_report([find_run(hostile / RUN)], "test", make_protocol("strict"), hostile / "release")
    address = file(tmp_path / "run.html", text)
    browser.get(address)
    assert acted(browser) == [None, 0]
    assert {url for url in asked_of(browser) if not url.startswith("data:")} == {address}
    assert browser.get_log("browser") == []


def test_hostile_names_do_nothing_in_the_explorer(browser: Any, hostile: Path) -> None:
    with explorer(hostile / "release", hostile / "cache") as address:
        for path in ("", f"search?q={quote(EVIL)}", f"entity?id={ART[0]}", "entity?id=artist:painter-0"):
            browser.get(address + path)
            assert acted(browser) == [None, 0]
            assert "{{7*7}}" in browser.find_element("id", "main").text
        assert browser.get_log("browser") == []


def test_the_explorer_asks_nobody_else(browser: Any, demo: str) -> None:
    for path in ("", "search?q=manet", "entity?id=artist:edouard-manet", "search?type=style"):
        browser.get(demo + path)
    assert browser.get_log("browser") == []
    assert {url for url in asked_of(browser) if not url.startswith(("data:", demo))} == set()
    loaded = "return [...document.images].every(i => !i.complete || i.naturalWidth > 0)"
    assert browser.execute_script(loaded)


def test_the_keyboard_alone_finds_a_painter_and_goes_on(browser: Any, demo: str) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.expected_conditions import presence_of_element_located, url_contains
    from selenium.webdriver.support.wait import WebDriverWait

    wait = WebDriverWait(browser, 20)  # a key is sent before the page that it leads to is there
    browser.get(demo)
    browser.switch_to.active_element.send_keys("manet edou", Keys.ENTER)
    first = wait.until(presence_of_element_located(("css selector", ".hits a")))
    for _ in range(30):
        if browser.switch_to.active_element == first:
            break
        browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait.until(url_contains("/entity"))
    assert wait.until(presence_of_element_located(("tag name", "h1"))).text == "Édouard Manet"


@pytest.mark.parametrize("path", ["", "search?q=manet", "entity?id=artist:edouard-manet"])
def test_the_explorer_fits_a_phone(browser: Any, demo: str, path: str) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(demo + path)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= PHONE["width"]


def test_the_report_fits_a_phone(browser: Any, demo_release: Path, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(file(tmp_path / "report.html", render_report(demo_release)))
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= PHONE["width"]


@pytest.mark.parametrize(("device", "beside"), [(PHONE, False), (PHONE | {"width": 1100, "mobile": False}, True)])
def test_europe_stands_beside_the_world_or_on_a_phone_below_it(
    browser: Any, demo_release: Path, tmp_path: Path, device: dict[str, Any], beside: bool
) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    browser.get(file(tmp_path / "report.html", render_report(demo_release, 0, checked=False)))
    world, europe = (node.rect for node in browser.find_elements("css selector", "figure.world svg[role=img]"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert (europe["x"] > world["x"] + world["width"]) == beside
    assert (europe["y"] > world["y"] + world["height"]) == (not beside)
    assert min(world["width"], europe["width"]) > 300


@pytest.mark.parametrize("path", ["", "search?q=manet", "entity?id=artwork:albert-marquet/cityscape-08"])
def test_every_picture_and_field_has_a_name(browser: Any, demo: str, path: str) -> None:
    browser.get(demo + path)
    nameless = (
        "return [...document.querySelectorAll('img:not([alt]), input:not([id]), select:not([id])')]"
        ".concat([...document.querySelectorAll('input, select')].filter(e => !e.labels.length)).length"
    )
    assert browser.execute_script(nameless) == 0
    assert len(browser.find_elements("css selector", "main, header, h1")) == 3
