"""The server: who may ask, what may be asked, and how it ends."""

import json
import random
import socket
import threading
import time

import pytest

from tinynet.view.guard import HEADERS, Guard
from tinynet.view.server import QUESTION, UPLOAD


def jpeg(trained, index: int = 0) -> bytes:
    with open(trained.data.val.name(index), "rb") as file:
        return file.read()


# ---- what there is ----


def test_the_page_and_all_that_it_loads_come_from_here(served):
    page = served.request("GET", "/")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    for name, value in HEADERS.items():
        assert page.headers[name] == value
    assert b"http://" not in page.body.replace(b"http://www.w3.org", b"") and b"https://" not in page.body
    for name in served._server._page:
        file = served.request("GET", f"/page/{name}")
        assert file.status == 200 and file.headers["x-content-type-options"] == "nosniff"
        assert b"https://" not in file.body, name


def test_the_network_is_described(served, viewer):
    told = served.get("/api/network")
    assert (told["title"], told["devices"], told["trained"], told["run"]) == ("runs/small", 2, True, False)
    assert told["data"] == {"validation": 12, "training": 36, "problem": ""}
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert list(layers) == [layer.name for layer in viewer.trained.net]
    summary = viewer.trained.net.summary((3, 67, 67))
    assert sum(layer["parameters"] for layer in told["layers"]) == summary.parameters
    assert layers["conv3"]["crossing"] == {"kind": "gather", "bytes": 4 * 8 * 3 * 3}
    assert layers["fc8"]["crossing"]["kind"] == "sum" and not layers["fc8"]["split"]
    assert layers["conv1"]["field"] == {"size": [11, 11], "stride": [4, 4], "start": [0, 0]}
    assert [layers[name]["same"] for name in ("conv1", "relu1", "lrn1", "pool1", "dropout6")] == [
        False, True, True, False, True,
    ]  # fmt: skip
    assert layers["conv1"]["file"] == "tinynet/layers/convolution.py"
    source = served.request("GET", layers["conv1"]["source"])
    assert source.status == 200 and b"class Conv2d(Layer):" in source.body


def test_a_picture_in_and_an_answer_out(served, trained):
    name = served.picture(jpeg(trained))
    told = served.post("/api/answer", {"picture": name, "crop": True, "layer": "pool5", "channel": 0})
    assert len(told["guesses"]) == 3 and told["layer"]["shape"] == [16, 1, 1] and told["crop"]["size"] == 67
    sample = served.post("/api/sample", {"split": "validation", "index": 11})
    assert (sample["count"], sample["index"]) == (12, 11) and sample["label"] == trained.data.val.labels[11]
    image = served.request("GET", "/api/image/training/5")
    assert image.headers["content-type"] == "image/png" and image.body.startswith(b"\x89PNG")
    for path in ("/api/kernels", "/api/wrong", "/api/guesses"):
        served.get(path)
    asked = {"picture": name, "kind": "grad-cam", "label": None}
    assert served.post("/api/saliency", asked)["shape"] == [3, 3]


# ---- who may ask ----


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Host": "tinynet.example:{port}"}, "not of that name"),
        ({"Host": "127.0.0.1.example"}, "not of that name"),
        ({"Host": "192.168.0.7:{port}"}, "not of that name"),
        ({"Host": ""}, "not of that name"),
        ({"Origin": "http://tinynet.example"}, "another origin"),
        ({"Origin": "http://127.0.0.1:1"}, "another origin"),
        ({"Origin": "https://127.0.0.1:{port}"}, "another origin"),
        ({"Origin": "null"}, "another origin"),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, "another site"),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, "another site"),
    ],
)
def test_strangers_are_refused(served, trained, headers, told):
    headers = {name: text.format(port=served.port) for name, text in headers.items()}
    for method, path, body in (("GET", "/", None), ("GET", "/api/network", None), ("POST", "/api/picture", b"x")):
        found = served.request(method, path, body, **headers)
        assert found.status == 403 and told in json.loads(found.body)["error"]


def test_the_page_itself_is_not(served):
    own = {"Origin": served.address, "Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"}
    for host in (f"127.0.0.1:{served.port}", f"localhost:{served.port}", f"[::1]:{served.port}"):
        assert served.request("GET", "/api/network", Host=host).status == 200
    assert served.request("GET", "/api/network", **own).status == 200
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert served.request("GET", "/", **link).status == 200  # somebody's link to it


def test_names_where_others_may_ask():
    everywhere, here = Guard(None, "0.0.0.0"), Guard(None, "127.0.0.1")
    for host in ("192.168.0.7:8000", "[fe80::1]:8000", socket.gethostname(), "localhost:8000"):
        assert everywhere._own(host)
    assert not here._own("192.168.0.7:8000") and not everywhere._own("tinynet.example:8000")
    assert Guard(None, "lab.example")._own("lab.example:8000")


# ---- what may not be asked ----


def test_large_bodies_are_not_read_to_their_end(served):
    for path, limit in (("/api/picture", UPLOAD), ("/api/answer", QUESTION)):
        found = served.request("POST", path, b"x" * 10, Content_Length=str(limit + 1))
        assert found.status == 413
        with socket.create_connection(("127.0.0.1", served.port)) as connection:  # whose length is not declared
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head.encode())
            chunk = b"%x\r\n" % 2**16 + b"x" * 2**16 + b"\r\n"
            try:
                for _ in range(limit // 2**16 + 20):
                    connection.sendall(chunk)
                answer = connection.recv(100)
            except OSError:  # closed already
                answer = b"HTTP/1.1 413"
        assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("GET", "/page/..%2fserver.py", None, 404, ""),
        ("GET", "/page/../server.py", None, 404, ""),
        ("GET", "/page/%2e%2e/%2e%2e/errors.py", None, 404, ""),
        ("GET", "/source/..%2f..%2fsetup.cfg", None, 404, ""),
        ("GET", "/source/Viewer", None, 404, "no such layer"),
        ("GET", "/api/answer", None, 405, ""),
        ("POST", "/api/network", b"{}", 405, ""),
        ("POST", "/api/answer", b"", 400, "expected JSON"),
        ("POST", "/api/answer", b"[1]", 400, "expected a JSON object"),
        ("POST", "/api/answer", b"[" * 100_000, 400, "expected JSON"),
        ("POST", "/api/answer", b'{"picture": "\xff"}', 400, "expected JSON"),
        ("POST", "/api/answer", b'{"picture": "p999"}', 404, "no picture 'p999' is kept"),
        ("POST", "/api/picture", b"no picture", 400, "expected a JPEG or PNG image"),
        ("POST", "/api/sample", b'{"split": "validation", "index": 12}', 400, "there are 12"),
        ("POST", "/api/sample", b'{"split": "validation", "index": -1}', 400, "there are 12"),
        ("POST", "/api/sample", b'{"split": "../x", "index": 0}', 400, "expected a split"),
        ("POST", "/api/sample", b'{"split": "training", "index": true}', 400, "expected a split"),
        ("GET", "/api/image/validation/12", None, 400, "there are 12"),
        ("GET", "/api/image/validation/99999999999999999999999", None, 400, "there are 12"),
        ("GET", "/api/image/secrets/0", None, 400, "there are no secrets images"),
        ("GET", "/api/run", None, 404, "this is no run"),
    ],
)
def test_wrong_requests_are_told_why(served, method, path, body, status, told):
    found = served.request(method, path, body)
    assert found.status == status and told in json.loads(found.body)["error"], found.body


def asked(port: int, request: bytes) -> bytes:
    """What comes of these bytes, at first; nothing where the server only closes the connection. It may wait for more of
    a request that was cut: after a moment it hears that there is none.
    """
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            connection.sendall(request)
            connection.settimeout(0.2)
            try:
                return connection.recv(65536)
            except TimeoutError:
                connection.settimeout(None)
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(65536)
        except ConnectionError:
            return b""


def test_malformed_requests_do_not_bring_it_down(served, trained, capfd):
    """Cut, doubled and overwritten requests, as bytes: each gets an answer below 500, or the connection is closed."""
    draw, head = random.Random(20), f"HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
    question = {"picture": served.picture(jpeg(trained)), "layer": "conv1", "changes": {"off": {"conv1": [1]}}}
    body = json.dumps(question)
    whole = [
        f"GET /api/network {head}\r\n".encode(),
        f"POST /api/answer {head}Content-Length: {len(body)}\r\n\r\n{body}".encode(),
        f"POST /api/picture {head}Content-Length: 400\r\n\r\n".encode() + jpeg(trained)[:400],
    ]
    statuses: dict[bytes, int] = {}
    for number in range(150):
        request = bytearray(whole[number % 3])
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(request))
            kind = draw.randrange(3)
            if kind == 0:
                request[place] = draw.randrange(256)
            elif kind == 1:
                del request[place : place + draw.randint(1, 30)]
            else:
                request[place:place] = request[: draw.randint(1, 60)]
            request = request or bytearray(b"\n")
        answer = asked(served.port, bytes(request))
        statuses[answer[9:12]] = statuses.get(answer[9:12], 0) + 1
    assert all(not status or status < b"500" for status in statuses), statuses
    assert statuses.get(b"400", 0) > 30, statuses
    assert served.post("/api/answer", question)["guesses"]
    assert "Traceback" not in capfd.readouterr().err


def test_what_fails_says_no_more_than_that(served, viewer, monkeypatch):
    monkeypatch.setattr(viewer, "kernels", lambda: 1 / 0)
    found = served.request("GET", "/api/kernels")
    assert (found.status, json.loads(found.body)) == (500, {"error": "a fault of the program: ZeroDivisionError"})


# ---- one at a time, and given up ----


def test_many_questions_at_once_get_their_own_answers(served, trained):
    names = [served.picture(jpeg(trained, index)) for index in range(4)]
    alone = [served.post("/api/answer", {"picture": name})["guesses"] for name in names]
    found: dict[int, list] = {}

    def ask(number: int) -> None:
        switched = {"off": {"conv1": [0, 1, 2]}} if number % 2 else {}
        found[number] = served.post("/api/answer", {"picture": names[number % 4], "changes": switched})["guesses"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(24):
        assert (found[number] == alone[number % 4]) == (number % 2 == 0)


def test_a_question_is_given_up_with_its_connection(served, viewer, trained, monkeypatch):
    """What is under way ends between two layers, and what waits behind it is answered."""
    name, forward = served.picture(jpeg(trained)), viewer.what_if.forward
    begun, ended = threading.Event(), threading.Event()

    def slow(x, switches, seen):
        if switches.towers:
            begun.set()
            try:
                while True:
                    seen("slow", x)
                    time.sleep(0.01)
            finally:
                ended.set()
        return forward(x, switches, seen)

    monkeypatch.setattr(viewer.what_if, "forward", slow)
    question = json.dumps({"picture": name, "changes": {"towers_off": [0]}}).encode()
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        head = f"POST /api/answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(question)}\r\n\r\n"
        connection.sendall(head.encode() + question)
        assert begun.wait(60)
    assert ended.wait(60)
    assert served.post("/api/answer", {"picture": name})["guesses"]
