"""The page of `ome-writers view` in a real browser: what is written is seen, in its colours, while it is written."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

import ome_writers as ow
from ome_writers import exhibit
from ome_writers.serve import Server

HOUSE = Path(ow.__file__).parent
SOURCES = HOUSE / "viewer" / "source"
SIDE = 64
RED, GREEN, YELLOW, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 0), (0, 0, 0)
OPTIONS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --window-size=700,640
--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver must be there; .ci/run installs them from Debian's packages")
        pytest.skip("there is no chromium with chromedriver on PATH")
    options = ChromeOptions()
    options.binary_location = str(programs[0])
    for option in OPTIONS.split():
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exhibit, "_EVERY", 0.05)


@pytest.fixture
def shown(browser: Chrome) -> Iterator[Callable[[str], Chrome]]:
    """Show a dataset in the browser."""
    servers: list[Server] = []

    def show(path: str) -> Chrome:
        servers.append(server := Server(path))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        browser.get(server.url)
        return browser

    yield show
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.get("about:blank")
    for server in servers:
        server.shutdown()
        server.server_close()
    # Chromium tells of what it does not find: chunks that have not come, and documents of the older zarr format.
    assert [one for one in complaints if "404 (Not Found)" not in one] == []


def settings_of(path: str, **more: Any) -> ow.AcquisitionSettings:
    return ow.AcquisitionSettings(
        root_path=path,
        dtype=more.pop("dtype", "uint16"),
        dimensions=[
            ow.Dimension(name="t", count=3, type="time"),
            ow.Dimension(name="p", coords=["left", "right"], type="position"),
            ow.Dimension(
                name="c", coords=[ow.Channel(name="red", color="#FF0000"), ow.Channel(name="green", color="#00FF00")]
            ),
            ow.Dimension(name="y", count=SIDE, type="space", unit="um", scale=0.5),
            ow.Dimension(name="x", count=SIDE, type="space", unit="um", scale=0.5),
        ],
        **more,
    )


def frames(dtype: str = "uint16") -> np.ndarray:
    """Return t, p, c, y, x: red is bright on the left, green above; with each t and each p, bright and dark change."""
    y, x = np.mgrid[:SIDE, :SIDE] < SIDE // 2
    image = np.stack([x, y])
    t, p = np.ogrid[:3, :2]
    turned = ((t + p) % 2 == 1)[..., None, None, None]
    return np.where(image ^ turned, 120, 10).astype(dtype)


def corners(driver: Chrome) -> list[tuple[int, int, int]]:
    """Return the colours of the quarters of the image in a screenshot: above left and right, below left and right."""
    pixels = np.asarray(Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")).astype(int)
    box = driver.find_element(By.TAG_NAME, "main").rect
    middle = (round(box["y"] + box["height"] / 2), round(box["x"] + box["width"] / 2))
    found = []
    for down, right in [(-1, -1), (-1, 1), (1, -1), (1, 1)]:
        y, x = middle[0] + down * 60, middle[1] + right * 60
        patch = pixels[y - 10 : y + 10, x - 10 : x + 10].reshape(-1, 3)
        assert np.ptp(patch, axis=0).max() < 8, "a quarter has one colour"
        found.append(tuple(int(value > 127) * 255 for value in patch.mean(0)))
    return found


UPRIGHT, TURNED, NOTHING = [YELLOW, GREEN, RED, BLACK], [BLACK, RED, GREEN, YELLOW], [BLACK] * 4


def wait_for(expected: list[tuple[int, int, int]], driver: Chrome) -> None:
    """Wait until the page shows something; the last screenshot tells why not."""
    for _ in range(200):
        if (seen := corners(driver)) == expected:
            return
        time.sleep(0.05)
    assert seen == expected, driver.find_element(By.TAG_NAME, "body").text


WRITTEN = {
    "zarr-zstd": ("cells.ome.zarr", "tensorstore", {"compression": "blosc-zstd"}),
    "zarr-gzip": ("cells.ome.zarr", "direct", {"compression": "gzip", "dtype": "uint8"}),
    "tiff": ("cells.ome.tiff", "direct", {"dtype": "float32"}),
    "tiff-zlib": ("cells.ome.tiff", "tifffile", {"compression": "zlib"}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_was_written_is_seen(name: str, shown: Callable[[str], Chrome]) -> None:
    path, writer, more = WRITTEN[name]
    plan = ow.compile(settings_of(path, **more))
    ow.write(plan, frames(plan.settings.dtype), writer)
    page = shown(plan.settings.output_path)
    wait_for(UPRIGHT, page)
    assert "12/12 frames" in page.find_element(By.TAG_NAME, "header").text
    assert "complete" in page.find_element(By.TAG_NAME, "header").text


def test_of_an_empty_dataset_nothing_is_seen(shown: Callable[[str], Chrome]) -> None:
    with ow.create_stream(settings_of("cells.ome.zarr")):
        page = shown("cells.ome.zarr")
        for _ in range(200):
            if page.find_element(By.TAG_NAME, "body").get_attribute("data-drawn"):
                break
            time.sleep(0.05)
        wait_for(NOTHING, page)
        assert "0/12 frames" in page.find_element(By.TAG_NAME, "header").text


@pytest.mark.parametrize(("path", "writer"), [("cells.ome.zarr", "direct"), ("cells.ome.tiff", "tifffile")])
def test_it_follows_a_run(path: str, writer: str, shown: Callable[[str], Chrome]) -> None:
    coming = iter(frames().reshape(-1, SIDE, SIDE))
    with ow.create_stream(settings_of(path), writer) as stream:
        for _ in range(2):
            stream.append(next(coming))
        page = shown(stream.plan.settings.output_path)
        wait_for(UPRIGHT, page)
        for _ in range(2):
            stream.append(next(coming))
        wait_for(TURNED, page)  # the other position
        for _ in range(5):
            stream.append(next(coming))
        # Of the third round the first position is whole, and of the second not yet all channels.
        header = page.find_element(By.TAG_NAME, "header")
        for _ in range(200):
            if "9/12 frames" in header.text:
                break
            time.sleep(0.05)
        assert "9/12 frames" in header.text
        wait_for(TURNED, page)
        stream.append(next(coming))
        wait_for(UPRIGHT, page)


def test_what_is_shown_can_be_chosen(shown: Callable[[str], Chrome]) -> None:
    ow.write(ow.compile(settings_of("cells.ome.zarr")), frames())
    page = shown("cells.ome.zarr")
    wait_for(UPRIGHT, page)
    red, green = page.find_elements(By.CSS_SELECTOR, ".channel input")
    red.click()
    wait_for([GREEN, GREEN, BLACK, BLACK], page)
    red.click()
    green.click()
    wait_for([RED, BLACK, RED, BLACK], page)
    green.click()
    page.find_element(By.CSS_SELECTOR, "select option[value='1']").click()
    wait_for(TURNED, page)
    # React listens to what the browser says of a slider that a person moves.
    (slider,) = page.find_elements(By.CSS_SELECTOR, "input[type=range]")
    page.execute_script(
        "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(arguments[0], '1');"
        "arguments[0].dispatchEvent(new Event('input', {bubbles: true}));",
        slider,
    )
    wait_for(UPRIGHT, page)


def test_pixels_that_cannot_be_drawn_are_told(shown: Callable[[str], Chrome]) -> None:
    ow.write(ow.compile(settings_of("cells.ome.zarr", dtype="bool")), frames() > 50)
    page = shown("cells.ome.zarr")
    for _ in range(200):
        if "cannot show bool pixels" in (said := page.find_element(By.TAG_NAME, "header").text):
            break
        time.sleep(0.05)
    assert "left: viv, which draws here, cannot show bool pixels" in said


# ── the bundle ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bundle_was_made_from_the_sources_beside_it() -> None:
    sources = hashlib.sha256()
    for name in ("build.mjs", "package-lock.json", "package.json", "page.jsx"):
        sources.update((SOURCES / name).read_text("utf-8").encode())
    first = (HOUSE / "viewer" / "viewer.js").read_text("utf-8").partition("\n")[0]
    assert f"made from {sources.hexdigest()} by source/build.mjs" in first, (
        "cd ome_writers/viewer/source && npm ci && npm run build"
    )


def test_the_bundle_tells_what_it_consists_of() -> None:
    said = (HOUSE / "viewer" / "viewer.licences.txt").read_text("utf-8")
    for name in ("@vivjs/viewers 0.21.0: MIT", "react 18.3.1: MIT", "geotiff 2.1.3: MIT", "zarrita "):
        assert name in said
    assert (HOUSE / "viewer" / "viewer.js").stat().st_size < 5 << 20
