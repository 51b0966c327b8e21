"""What the page says when something is wrong, or out of the ordinary."""

import time

import numpy as np
import pytest

from featscope.viewer.server import Address

from .conftest import HOSTILE, photo_of, write_run
from .screen import Served, value_in

ALL_MODES = ("stage", "grid", "channels", "compare")


@pytest.fixture
def small(tmp_path):
    """Three samples with two levels of a layer, on disk."""
    rng = np.random.default_rng(5)
    maps = {"neck": [rng.random((4, 10, 15), np.float32), rng.random((4, 5, 8), np.float32)]}
    samples = [(photo_of(tmp_path, f"photo_{i}"), np.zeros((40, 60, 3), np.uint8)) for i in range(3)]
    write_run(tmp_path / "run", maps, samples).close()
    return tmp_path / "run"


def test_the_folder_of_the_run_is_removed_and_comes_back(look, serve, small):
    screen = look(serve(small))
    screen.expect("410")
    small.rename(small.with_name("away"))
    screen.press("]")
    screen.press("j", "j")
    words = " ".join(screen.find(".notice").all_inner_texts()) + screen.find(".centre").inner_text()
    assert "is gone; it was there when the viewer started" in words
    small.with_name("away").rename(small)
    screen.press("k").rest()
    assert screen.page.title().startswith("photo_1")
    assert "is gone" not in screen.find(".centre").inner_text()
    assert (screen.pixels()[..., 3] > 0).any()


def test_a_damaged_map(look, serve, small):
    path = next(iter(small.glob("layer_0/batch_0_layer_1.npy")))
    path.write_bytes(path.read_bytes()[:150])
    screen = look(serve(small))
    screen.expect("status of 4")
    screen.press("]")
    assert path.name in screen.find(".centre").inner_text()
    screen.press("2").rest()  # the grid shows the other one
    assert path.name in screen.find(".centre").inner_text()
    assert (screen.pixels()[..., 3] > 0).any()
    screen.press("1", "j").rest()
    assert path.name not in screen.find(".centre").inner_text()
    assert (screen.pixels()[..., 3] > 0).any()


def test_the_server_ends_and_starts_again(look, serve, small):
    served = Served(small)
    screen = look(served)
    screen.expect("Failed to load resource|ERR_CONNECTION")
    served.stop()
    time.sleep(0.1)
    screen.find("#samples").focus()
    screen.press("End")
    assert "featscope view does not answer. Is it still running?" in screen.text(".notices")
    assert screen.find("#samples [role=option]:not([hidden])").count() == 3
    # Another one at the same address.
    serve(small, address=Address(port=served.address.port, token=served.address.token))
    screen.press("ArrowUp", "ArrowUp")
    screen.page.wait_for_function("() => !document.querySelector('.notices').textContent.includes('does not answer')")
    assert (screen.pixels()[..., 3] > 0).any()


def test_a_page_without_a_server_says_so(look, one):
    screen = look(one)
    screen.expect("Failed to load resource|ERR_FAILED")
    screen.page.route("**/ask/about*", lambda route: route.abort())
    screen.page.reload()
    screen.find(".failed").wait_for()
    assert "featscope view does not answer" in screen.text(".failed")
    screen.page.unroute("**/ask/about*")
    screen.page.get_by_role("button", name="Reload").click()
    screen.find(".top").wait_for()
    screen.rest()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_markup_in_names_is_text(look, serve, hostile, mode):
    screen = look(serve(hostile, hostile), mode=mode)
    assert HOSTILE in screen.page.title()
    assert HOSTILE in screen.text("#samples").replace("=\n", "=")
    assert HOSTILE in screen.find("[role=treeitem]").first.inner_text().replace("=\n", "=")
    assert screen.page.locator("img[src=x]").count() == 0
    screen.page.get_by_role("button", name="Filters").click()
    assert HOSTILE in screen.page.get_by_label("Class", exact=True).inner_text()
    if mode == "stage":
        screen.page.get_by_text("1 without maps").click()
        assert HOSTILE in screen.text(".left-out")
        with screen.page.expect_download() as coming:
            screen.press("p")
        assert coming.value.suggested_filename == "_img_src_x_onerror_alert_1___img_src_x_onerror_alert_1__level0.png"
    screen.press("j").rest()
    assert screen.page.title().startswith("nothing known")


def test_a_sample_without_an_image(look, serve, hostile):
    screen = look(serve(hostile), sample="nothing known")
    assert screen.find(".panel-note").inner_text() != ""
    assert "The image of this sample is not at hand; the map is shown alone." in screen.find(
        ".panel-note"
    ).get_attribute("data-all")
    pixels = screen.pixels()
    assert (pixels[pixels.shape[0] // 2, :, 3] == 255).sum() > 100
    assert not screen.page.get_by_label("Opacity").is_visible()
    assert "No detections" in screen.text(".inspector") or not screen.find(".box-row").count()


def test_a_bare_folder_of_arrays(look, serve, by_hand):
    screen = look(serve(by_hand), layer="block3", level=1)
    assert screen.text(".panel-title") == "block3 · level 1"
    assert screen.text(".panel-how") != ""
    assert (screen.pixels()[..., 3] == 255).any()
    for mode in ALL_MODES:
        screen.open(mode=mode, layer="block3")
        assert screen.find(".notice.bad").count() == 0


def test_nan_and_infinity_are_marked_and_counted(look, serve, tmp_path):
    array = np.random.default_rng(2).random((1, 10, 15), np.float32)
    array[0, 2:4, 3], array[0, 5, 5] = np.nan, np.inf
    write_run(
        tmp_path / "run", {"neck": [array]}, [(photo_of(tmp_path, "photo"), np.zeros((40, 60, 3), np.uint8))]
    ).close()
    screen = look(serve(tmp_path / "run"), photo="none", smooth=0)
    words = [text.strip() for text in screen.find(".panel-marks li").all_inner_texts()]
    assert "2 NaN" in words
    assert "1 infinite" in words
    pixels = screen.pixels()[..., :3].reshape(-1, 3)
    share = [(pixels == colour).all(1).mean() * 150 for colour in ((255, 0, 255), (0, 255, 0))]
    assert share[0] > 1.2
    assert share[1] > 0.5
    assert "NaN" in screen.point(3.5 * 4, 2.5 * 4, frame=(40, 60))


def test_a_map_of_2048_channels(look, serve, tmp_path):
    array = np.random.default_rng(2).normal(size=(2048, 24, 36)).astype(np.float16)
    write_run(
        tmp_path / "run", {"neck": [array]}, [(photo_of(tmp_path, "photo"), np.zeros((40, 60, 3), np.uint8))]
    ).close()
    began = time.monotonic()
    screen = look(serve(tmp_path / "run"), mode="channels", size=32)
    assert time.monotonic() - began < 6
    assert screen.text(".tile-head .facts").startswith("2048 channels")
    screen.find(".tiles").focus()
    screen.press("End")
    assert screen.text(".tile-about").startswith("Channel 2047")
    height, width = screen.pixels(".tiles canvas").shape[:2]
    assert height * width < 4e6  # only what is in sight is painted
    screen.press("Enter").has(reduce="channel:2047")
    header_row, column = 12, 20
    words = screen.point((column + 0.5) * 60 / 36, (header_row + 0.5) * 40 / 24, frame=(40, 60))
    assert value_in(words) == pytest.approx(float(array[2047, header_row, column]), rel=1e-3, abs=1e-4)


def test_a_map_of_4096_by_4096_cells(look, serve, tmp_path):
    array = np.zeros((1, 4096, 4096), np.float16)
    array[0, ::64] = 1
    array[0, 1000, 3000] = 9
    photo = photo_of(tmp_path, "photo", (512, 512))
    write_run(tmp_path / "run", {"neck": [array]}, [(photo, np.zeros((512, 512, 3), np.uint8))]).close()
    screen = look(serve(tmp_path / "run"), photo="none", range="map")
    assert screen.text(".panel-tick.is-high") == "9"
    assert (screen.pixels()[..., 3] == 255).any()
    screen.page.locator(".panel-map").focus()
    for _ in range(8):
        screen.press("+")
    words = screen.point(3000.5 / 8, 1000.5 / 8, frame=(512, 512))
    assert "row" in words
    screen.press("3").rest()
    assert screen.text(".tile-head .facts").startswith("1 channels · 4096 × 4096 cells")
