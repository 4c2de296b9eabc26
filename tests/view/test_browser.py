"""The page in a real browser: see browser.py."""

import json
import shutil

import numpy as np
import pytest
from run_on_disk import write_log
from view.browser import Page, in_browser, near
from view.conftest import Served, opened
from view.test_viewer import from_pixels

from tinynet import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, Softmax, models
from tinynet.backend import to_device, to_host
from tinynet.commands.networks import Subject
from tinynet.commands.view import untrained
from tinynet.data.images.crops import middle_crop
from tinynet.layers import Layer
from tinynet.training import append_json_line, load_trained
from tinynet.training.evaluation import mean_softmax
from tinynet.view.server import Server
from tinynet.view.viewer import Viewer
from tinynet.view.watched import WatchedRun

webdriver = pytest.importorskip("selenium.webdriver")
Keys = webdriver.Keys
pytestmark = in_browser


@pytest.fixture
def page(chromium, served):
    page = Page(chromium, served)
    page.until(page.guesses, "guesses about the first validation image")
    yield page
    page.end()


def probabilities(trained, crop: np.ndarray, net=None) -> np.ndarray:
    return mean_softmax(to_host((net or trained.net).forward(from_pixels(trained, crop))), 1)[0]


def without(net, off: dict[str, list[int]]):
    """The net, whose kernels for these channels are zero."""
    for layer, channels in off.items():
        for key in ("weight", "bias"):
            values = np.array(to_host(net[layer].params[key]))
            values[channels] = 0
            net[layer].params[key] = to_device(values)
    return net


# ---- a picture in ----


def test_guesses_are_what_predict_prints(page, trained, ask):
    path = trained.data.val.name(7)
    page.bring(path)
    for views in ("middle", "ten"):
        _, out, _ = ask("predict", trained.path, path, "--views", views, "--json")
        [told] = json.loads(out)
        expected = {guess["name"]: f"{100 * guess['probability']:.2f} %" for guess in told["guesses"]}
        page.until(lambda expected=expected: near(page.guesses(), expected), f"{views}: {expected}")
        page.one("#ten-views").click()


def test_images_of_the_validation_set(page, trained):
    split, names = trained.data.val, [f"the {name}" for name in trained.data.classes]
    loaded = load_trained(trained.path)
    for button, index in (("#next", 1), ("#next", 2), ("#previous", 1), ("#previous", 0), ("#previous", 11)):
        page.one(button).click()
        page.expect(probabilities(loaded, middle_crop(split.load(index, 72), 67)), names)
        page.until(lambda index=index: names[split.labels[index]] in page.one("#truth").text, "the true class")
    page.one("#most-wrong").click()
    wrong = []
    for index in range(len(split)):
        row = probabilities(loaded, middle_crop(split.load(index, 72), 67))
        if row.argmax() != split.labels[index]:
            wrong.append((-row.max(), index, row))
    page.expect(min(wrong)[2], names)


def test_a_file_that_is_no_picture_is_told_of(page, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "large.jpg").write_bytes(bytes(10 * 2**20 + 1))
    before = page.guesses()
    page.bring(tmp_path / "large.jpg")
    page.until(lambda: "large.jpg is larger than 10.0 MiB" in page.one("#status").text, "its size")
    page.bring(tmp_path / "a.jpg")
    page.until(lambda: "expected a JPEG or PNG image" in page.one("#status").text, "the reason")
    assert page.guesses() == before
    page.driver.get_log("browser")  # Chromium itself writes of the answer 400


# ---- what if ----


def test_a_channel_off_is_the_net_with_that_kernel_of_zeros(page, fresh, trained):
    names = [f"the {name}" for name in trained.data.classes]
    crop, other = middle_crop(trained.data.val.load(0, 72), 67), fresh()
    before = page.guesses()
    page.one('#diagram [data-layer="conv1"]').click()
    number = page.until(lambda: page.one("#channel-number"), "the channel's number")
    for channel in (2, 4):
        number.clear()
        number.send_keys(str(channel))
        page.one("#channel-off").click()
    page.expect(probabilities(other, crop, without(other.net, {"conv1": [2, 4]})), names)
    page.until(lambda: "conv1" in page.one("#off-list").text, "the list of what is off")
    assert all(one.text.endswith(" points") for one in page.all("#guesses .change"))
    page.one("#reset").click()
    page.until(lambda: page.guesses() == before, "the guesses of the whole network")


def test_no_exchange_and_no_tower(page, fresh, trained):
    names = [f"the {name}" for name in trained.data.classes]
    crop, other = middle_crop(trained.data.val.load(0, 72), 67), fresh()
    weight = np.array(to_host(other.net["conv3"].params["weight"]))
    rows, columns = weight.shape[0] // 2, weight.shape[1] // 2
    weight[:rows, columns:] = weight[rows:, :columns] = 0
    other.net["conv3"].params["weight"] = to_device(weight)
    page.one("#exchange-off-conv3").click()
    page.expect(probabilities(other, crop), names)
    page.one("#exchange-off-conv3").click()
    alone = fresh()
    off = {f"conv{number}": None for number in range(1, 6)} | {"fc6": None, "fc7": None}
    for layer in off:
        count = len(alone.net[layer].params["bias"])
        off[layer] = list(range(count // 2, count))
    page.one("#tower-off-1").click()
    page.expect(probabilities(alone, crop, without(alone.net, off)), names)


def test_a_picture_is_mirrored_and_covered(page, trained):
    names, loaded = [f"the {name}" for name in trained.data.classes], load_trained(trained.path)
    pixels = trained.data.val.load(0, 72)
    page.one("#mirror").click()
    mirrored = middle_crop(pixels[:, ::-1], 67)
    page.expect(probabilities(loaded, mirrored), names)
    before = page.guesses()
    actions = webdriver.ActionChains(page.driver)
    actions.move_to_element_with_offset(page.one("#picture"), -60, -60).click_and_hold()
    actions.move_by_offset(90, 90).release().perform()
    page.until(lambda: page.guesses() != before, "other guesses")
    assert page.until(lambda: float(page.one("#press-to-answer").text.split()[0]) > 0, "a time")


def test_what_a_layer_makes_of_it(page):
    page.one('#diagram [data-layer="conv2"]').click()
    page.until(lambda: page.one("#layer-panel .channels"), "channels")
    page.one("#channel-open").click()
    page.until(lambda: page.one("#channel-opacity").is_displayed(), "the large channel")
    for kind in ("gradient", "guided", "grad-cam"):
        page.driver.execute_script(
            "const s = document.querySelector('#saliency'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change', {bubbles: true}))", kind,
        )  # fmt: skip
        page.until(lambda: page.one("#saliency-opacity").is_displayed(), "the slider")
    page.one("#neighbours").click()
    page.until(lambda: len(page.all("img[src*='/api/image/training/']")) == 6, "the nearest training pictures")


# ---- by keyboard ----


def test_by_keyboard_alone(page, fresh, trained):
    names = [f"the {name}" for name in trained.data.classes]

    def active(attribute: str) -> str:
        return page.driver.switch_to.active_element.get_attribute(attribute) or ""

    def press(*keys: str) -> None:
        webdriver.ActionChains(page.driver).send_keys(*keys).perform()

    def tab_to(true, what: str) -> None:
        for _ in range(80):
            if true():
                return
            press(Keys.TAB)
        raise AssertionError(f"no Tab leads to {what}")

    tab_to(lambda: active("data-layer"), "the diagram")
    press(Keys.HOME)
    seen = [active("data-layer")]
    for _ in range(40):
        if seen[-1] == "conv2":
            break
        press(Keys.ARROW_RIGHT)
        seen.append(active("data-layer"))
    assert seen[-1] == "conv2", seen
    press(Keys.ENTER)
    page.until(lambda: "conv2" in page.one("#layer-panel").text, "the layer's panel")
    tab_to(lambda: active("id") == "channel-number", "the channel's number")
    press(Keys.CONTROL, "a")
    press(Keys.NULL, "5")
    tab_to(lambda: active("id") == "channel-off", "the switch")
    press(Keys.ENTER)
    other = fresh()
    crop = middle_crop(trained.data.val.load(0, 72), 67)
    page.expect(probabilities(other, crop, without(other.net, {"conv2": [5]})), names)


# ---- other networks, other screens, a run under way ----


@pytest.mark.parametrize(
    ("model", "arguments", "shape"),
    [
        ("lenet", {}, (1, 28, 28)),
        ("vgg", {"depth": 16, "width": 0.05, "input_size": 64}, (3, 64, 64)),
        ("cifar10_quick", {}, (3, 32, 32)),
    ],
)
@pytest.mark.parametrize("width", [1024, 390])
def test_networks_in_one_tower_on_both_widths(chromium, trained, model, arguments, shape, width):
    subject = Subject(models.build(model, **arguments), shape, model, arguments, model)
    viewer = opened(Viewer(untrained(subject), model, "random weights", learned=False))
    page = Page(chromium, Served(Server(viewer, None, "127.0.0.1")))
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.until(lambda: page.all("#diagram [data-layer]"), "the diagram")
    drawn = {block.get_attribute("data-layer") for block in page.all("#diagram [data-layer]")}
    assert drawn == set(viewer.what_if.places)
    assert {block.get_attribute("data-tower") for block in page.all("#diagram [data-layer]")} <= {"0", "", None}
    page.bring(trained.data.val.name(0))
    page.until(page.guesses, "guesses")
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    page.end()


def test_a_network_of_one_s_own(chromium, trained):
    """With nets inside, a layer of another's, and without a convolution that can be drawn."""

    class Twice(Layer):
        split_as = "each"

        def forward(self, x, train=False):
            return 2 * x

    body = [("conv", Conv2d(3, 8, 5, stride=2)), ("relu", ReLU()), ("twice", Twice()), ("pool", MaxPool2d(2))]
    layers = [("body", Sequential(body)), ("flatten", Flatten()), ("fc", Linear(8 * 9 * 9, 4)), ("softmax", Softmax())]
    subject = Subject(Sequential(layers), (3, 40, 40), "own", {}, "own")
    viewer = opened(Viewer(untrained(subject), "own", "random weights", learned=False))
    page = Page(chromium, Served(Server(viewer, None, "127.0.0.1")))
    page.until(lambda: page.all('#diagram [data-layer="body.twice"]'), "the diagram")
    page.bring(trained.data.val.name(0))
    page.until(page.guesses, "guesses")
    page.one('#diagram [data-layer="body.pool"]').click()
    page.until(lambda: "body.pool" in page.one("#layer-title").text, "the layer")
    page.end()


def test_dark_light_and_printed(page):
    colours = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours.append(page.one("body").value_of_css_property("background-color"))
    assert colours[0] != colours[1]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert not page.one("#file").is_displayed() and not page.one("#mirror").is_displayed()
    assert page.one("#diagram").is_displayed() and page.one("#guesses").is_displayed()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_a_run_under_way(chromium, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.path / "final", run / "checkpoints" / "step-000000010")
    write_log(run, 2)
    loaded = load_trained(run)
    viewer = opened(Viewer(loaded, "run", "step 10"))
    page = Page(chromium, Served(Server(viewer, WatchedRun(run, loaded), "127.0.0.1")))
    page.until(page.guesses, "guesses")
    page.until(lambda: "step 10" in page.one("#run").text and page.all("#run svg"), "the curves")
    before = page.guesses()
    shutil.copytree(trained.other / "final", run / "checkpoints" / "step-000000020")
    result = {"loss": 0.5, "top1_error": 12.5}
    append_json_line(
        run / "log.jsonl",
        {"event": "epoch", "epoch": 3, "step": 20, "lr": 0.01, "train": result, "validation": result},
    )
    page.until(lambda: "step 20" in page.one("#run").text, "the newer checkpoint")
    page.until(lambda: page.guesses() != before, "its guesses")
    page.end()


def test_a_server_that_is_gone_is_told_of(chromium, viewer):
    server = Server(viewer, None, "127.0.0.1")
    page = Page(chromium, Served(server))
    page.until(page.guesses, "guesses")
    server.close()
    page.one("#mirror").click()
    page.until(lambda: page.one("#status").text.strip(), "a word on it")
    chromium.get_log("browser")
