"""A viewer of a small network with its data set, and its server on a thread."""

import http.client
import json
import threading
from types import SimpleNamespace

import pytest
from commands.conftest import CROP, SIZE, ask, trained  # noqa: F401
from run_on_disk import settings_of
from small_runs import data  # noqa: F401

from tinynet import models
from tinynet.data import measure
from tinynet.training import Trained, load_trained
from tinynet.view.server import Server, listen, serve
from tinynet.view.viewer import Viewer


def opened(viewer: Viewer) -> Viewer:
    """The same, once its data set is there."""
    for thread in threading.enumerate():
        if thread.name == "tinynet-data":
            thread.join()
    assert not viewer.images.opening
    return viewer


@pytest.fixture
def viewer(trained) -> Viewer:  # noqa: F811
    return opened(Viewer(load_trained(trained.path), "runs/small", "finished"))


@pytest.fixture(scope="session")
def fresh(data):  # noqa: F811
    """fresh() -> the Trained of the viewer's network, with weights of its own."""
    statistics = measure(data.train, SIZE, workers=1)
    settings = settings_of(data, SIZE, CROP, 1 / statistics.pixel_deviation, seed=0)

    def make() -> Trained:
        return Trained(models.alexnet(**settings["network"]), statistics, settings | {"model": "alexnet"}, data.root)

    return make


class Served:
    """A server on a thread, and what it answers."""

    def __init__(self, server: Server):
        self._server, self._listening = server, listen("127.0.0.1", 0)
        self.port = self._listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=serve, args=(server, self._listening), daemon=True)
        self._thread.start()

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> SimpleNamespace:
        """What came: status, headers, body. In headers' names _ stands for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        found = SimpleNamespace(status=response.status, headers=response.headers, body=response.read())
        connection.close()
        return found

    def get(self, path: str):
        """What JSON comes of it."""
        found = self.request("GET", path)
        assert found.status == 200, found.body
        return json.loads(found.body)

    def post(self, path: str, asked: object) -> dict:
        found = self.request("POST", path, json.dumps(asked).encode())
        assert found.status == 200, found.body
        return json.loads(found.body)

    def picture(self, data: bytes) -> str:  # noqa: F811
        found = self.request("POST", "/api/picture", data)
        assert found.status == 200, found.body
        return json.loads(found.body)["picture"]


@pytest.fixture
def served(viewer):
    return Served(Server(viewer, None, "127.0.0.1"))


@pytest.fixture(scope="module")
def chromium():
    from view.browser import open_browser

    driver = open_browser()
    yield driver
    driver.quit()
