"""Chromium, headless, driven by Selenium, and the page in it; tests are skipped where one of them is missing."""

import json
import shutil
import time

import numpy as np
import pytest
from view.conftest import Served

pytest.importorskip("selenium", reason="no selenium: pip install selenium")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
in_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver: apt-get install chromium chromium-driver"
)

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

PATIENCE = 120  # seconds


def open_browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-background-networking"):
        options.add_argument(f"--{word}")
    options.add_argument("--window-size=1024,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


class Page:
    """A page that is open, and what a user finds on it."""

    def __init__(self, driver, served: Served):
        self.driver, self.address = driver, served.address
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        for log in ("browser", "performance"):
            driver.get_log(log)  # what came before
        driver.get(f"{served.address}/")

    def one(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, true, what: str):
        """What true() gives, once it is true, however slow the machine is."""
        ended = time.monotonic() + PATIENCE
        while time.monotonic() < ended:
            try:
                if found := true():
                    return found
            except Exception as error:  # of an element that was just replaced
                what = f"{what} ({type(error).__name__})"[:300]
            time.sleep(0.05)
        raise AssertionError(f"waited for {what}; status: {self.one('#status').text!r}")

    def guesses(self) -> dict[str, str]:
        """Names and percentages, the best first."""
        script = """const text = (li, name) => li.querySelector(name).textContent.trim();
            const items = [...document.querySelectorAll('#guesses li')];
            return items.map(li => [text(li, '.name'), text(li, '.probability')])"""
        return dict(self.driver.execute_script(script))

    def expect(self, probabilities: np.ndarray, names: list[str]) -> None:
        """Waits until the guesses are the five best of these."""
        best = (-probabilities).argsort(kind="stable")[:5].tolist()
        expected = {names[label]: f"{100 * probabilities[label]:.2f} %" for label in best}
        self.until(lambda: near(self.guesses(), expected), f"{expected}, found {self.guesses()}")

    def bring(self, path) -> None:
        self.one("#file").send_keys(str(path))

    def end(self) -> None:
        """Nothing was complained about, and nothing was asked of anybody else."""
        complaints = [entry for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]
        assert not complaints, complaints
        sent = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
        assert urls and all(url.startswith((self.address, "data:", "blob:")) for url in urls), urls


def near(found: dict[str, str], expected: dict[str, str]) -> bool:
    """The same names in the same order, and percentages whose last digit may be rounded otherwise."""
    if list(found) != list(expected):
        return False
    shares = [(float(found[name].split()[0]), float(expected[name].split()[0])) for name in found]
    return all(text.endswith(" %") for text in found.values()) and all(abs(a - b) < 0.011 for a, b in shares)
