"""The page's server: what may be asked, and the one thread on which the network answers.

Starlette and uvicorn do HTTP; who may ask at all is known to guard.py.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tinynet.errors import CheckpointError, DataError, NonFiniteError
from tinynet.files import parse_json, shown
from tinynet.interruption import Stopped
from tinynet.threads import Worker
from tinynet.training import Trained
from tinynet.view.diagram import source_files
from tinynet.view.guard import Guard
from tinynet.view.images import UnknownPictureError
from tinynet.view.searches import Searches
from tinynet.view.viewer import GivenUpError, Viewer
from tinynet.view.watched import WatchedRun

UPLOAD = 10 * 2**20  # bytes of a picture
QUESTION = 2**20  # bytes of JSON
PATIENCE = 0.05  # seconds between two looks whether anybody still waits
TRIES = 20  # ports
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
Asked = Callable[[dict, Callable[[], bool]], dict[str, Any]]


class Server:
    """The application of one viewer, and of the run that it belongs to. host: where it listens."""

    def __init__(self, viewer: Viewer, run: WatchedRun | None, host: str):
        self._viewer, self._run = viewer, run
        self._searches = Searches(viewer)
        self._sources = source_files(viewer.trained.net)
        page = resources.files("tinynet.view").joinpath("page")
        self._page = {file.name: file.read_bytes() for file in page.iterdir() if file.is_file()}
        # one thread each: a network answers one request at a time, and one huge picture is decoded at a time
        self._network, self._decoding = Worker("tinynet-network"), Worker("tinynet-pictures")
        self._closing = threading.Event()
        routes = [
            Route("/", self._file),
            Route("/page/{name}", self._file),
            Route("/source/{layer}", self._source),
            Route("/api/network", self._get(self._about)),
            Route("/api/picture", self._picture, methods=["POST"]),
            Route("/api/sample", self._sample, methods=["POST"]),
            Route("/api/image/{split}/{index:int}", self._thumbnail),
            Route("/api/answer", self._post(viewer.answer), methods=["POST"]),
            Route("/api/saliency", self._post(viewer.saliency), methods=["POST"]),
            Route("/api/neighbours", self._post(self._searches.neighbours), methods=["POST"]),
            Route("/api/wrong", self._ask(lambda asked, given_up: self._searches.mistakes(given_up))),
            Route("/api/guesses", self._ask(lambda asked, given_up: self._searches.guesses(given_up))),
            Route("/api/kernels", self._ask(lambda asked, given_up: viewer.kernels())),
            Route("/api/run", self._progress),
        ]
        handlers: Any = {HTTPException: _refused, Exception: _failed}
        handlers |= dict.fromkeys((ValueError, LookupError, CheckpointError, DataError, NonFiniteError), _wrong)
        handlers |= {UnknownPictureError: _forgotten, GivenUpError: _given_up, ClientDisconnect: _given_up}
        self.application = Guard(Starlette(routes=routes, exception_handlers=handlers), host)

    # ---- the page and its pictures ----

    async def _file(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        kind = KINDS.get(name[name.rfind(".") :])
        if name not in self._page or kind is None:
            raise HTTPException(404, f"the page has no file {shown(name)[:60]}")
        return Response(self._page[name], media_type=kind)

    async def _source(self, request: Request) -> Response:
        path = self._sources.get(request.path_params["layer"])
        if path is None:
            raise HTTPException(404, "the network has no such layer")
        return PlainTextResponse(path.read_text(encoding="utf-8"))

    async def _picture(self, request: Request) -> Response:
        body = await _body(request, UPLOAD)
        picture = await self._on(self._decoding, request, lambda given_up: self._viewer.images.decode(body))
        return JSONResponse({"picture": self._viewer.images.add(picture), "name": "", "label": None})

    async def _sample(self, request: Request) -> Response:
        asked, images = await _question(request), self._viewer.images
        split, index = asked.get("split"), asked.get("index")
        if split not in ("training", "validation") or not isinstance(index, int) or isinstance(index, bool):
            raise ValueError("sample: expected a split, training or validation, and an index")
        picture = await self._on(self._decoding, request, lambda given_up: images.sample(split, index))
        about = {"split": split, "index": index, "count": len(images.split(split) or ())}
        about |= {"name": shown("/".join(picture.name.replace("\\", "/").split("/")[-2:])), "label": picture.label}
        return JSONResponse({"picture": images.add(picture), **about})

    async def _thumbnail(self, request: Request) -> Response:
        split, index = request.path_params["split"], request.path_params["index"]
        data = await self._on(self._decoding, request, lambda given_up: self._viewer.images.thumbnail(split, index))
        return Response(data, media_type="image/png")

    # ---- what the network and the run say ----

    def _about(self) -> dict[str, Any]:
        run = self._run is not None and self._run.has_log
        return {**self._viewer.network(), "run": run, "upload": UPLOAD}

    async def _progress(self, request: Request) -> Response:
        run = self._run
        if run is None:
            raise HTTPException(404, "this is no run")
        progress = await self._on(self._decoding, request, lambda given_up: run.progress())
        newer = await self._on(self._decoding, request, lambda given_up: run.newer())
        if newer is not None:
            await _begin(self._network, lambda: self._take(run, *newer))  # also where nobody waits for it any more
        return JSONResponse({**progress, "state": self._viewer.state, "version": self._viewer.version})

    def _take(self, run: WatchedRun, trained: Trained, state: str) -> None:
        """Newer weights, unless another request has brought them."""
        if not run.has_taken(trained):
            run.take(trained)
            self._viewer.update(trained, state)

    def _get(self, tell: Callable[[], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return JSONResponse(tell())

        return endpoint

    def _ask(self, task: Asked) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint whose answer the network gives, without a question."""

        async def endpoint(request: Request) -> Response:
            return JSONResponse(await self._on(self._network, request, lambda given_up: task({}, given_up)))

        return endpoint

    def _post(self, task: Asked) -> Callable[[Request], Awaitable[Response]]:
        """The same, to a question in JSON."""

        async def endpoint(request: Request) -> Response:
            asked = await _question(request)
            return JSONResponse(await self._on(self._network, request, lambda given_up: task(asked, given_up)))

        return endpoint

    async def _on(self, worker: Worker, request: Request, task: Callable) -> Any:
        """task(given_up) on a thread, in its turn; given_up() is true once nobody waits for it."""
        left = threading.Event()

        def given_up() -> bool:
            return left.is_set() or self._closing.is_set()

        def work() -> Any:
            if given_up():
                raise GivenUpError
            return task(given_up)

        future = _begin(worker, work)
        try:
            while not (await asyncio.wait({future}, timeout=PATIENCE))[0]:
                if await request.is_disconnected():
                    left.set()
            return await future
        finally:
            left.set()

    def close(self) -> None:
        """What is under way is given up, what waits is not begun."""
        self._closing.set()


def _begin(worker: Worker, task: Callable[[], Any]) -> asyncio.Future:
    """The task on a thread, in its turn."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():  # cancelled: the server has ended
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        try:
            result, error = task(), None
        except Exception as raised:
            result, error = None, raised
        loop.call_soon_threadsafe(settle, result, error)

    worker.submit(work)
    return future


# ---- what may be asked, and what goes wrong ----


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit."""
    declared = request.headers.get("content-length", "0")
    data = bytearray()
    if declared.isdigit() and int(declared) <= limit:
        async for chunk in request.stream():
            data += chunk
            if len(data) > limit:
                break
        else:
            return bytes(data)
    raise HTTPException(413, f"more than {limit / 2**20:.0f} MiB", {"Connection": "close"})


async def _question(request: Request) -> dict:
    try:
        asked = parse_json(await _body(request, QUESTION))
    except ValueError as error:
        raise ValueError(f"expected JSON: {error}") from error
    if not isinstance(asked, dict):
        raise ValueError("expected a JSON object")
    return asked


async def _wrong(request: Request, error: Exception) -> Response:
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return JSONResponse({"error": shown(message)[:1000]}, 400)


async def _forgotten(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": shown(str(error))}, 404)


async def _refused(request: Request, error: Any) -> Response:
    return JSONResponse({"error": shown(str(error.detail))}, error.status_code, error.headers)


async def _given_up(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "given up"}, 503)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"a fault of the program: {type(error).__name__}"}, 500)


# ---- listening ----


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the port, or at the next one that is not used. OSError where there is none."""
    name = host.strip("[]")  # as addresses have them
    try:
        [(family, *_), *_] = socket.getaddrinfo(name or "0.0.0.0", port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"--host {shown(host)}: no such name: {error}") from error
    last = min(port + TRIES, 65536) if port else 1
    for attempt in range(port, last):
        found = socket.socket(family)
        try:
            if os.name == "posix":  # elsewhere it would share a port that is used
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((name, attempt))
            found.listen()
            return found
        except OSError as error:
            found.close()
            if error.errno != errno.EADDRINUSE:
                raise OSError(f"{shown(host)}, port {attempt}: cannot listen there: {error}") from error
    raise OSError(f"{shown(host)}: all ports from {port} to {last - 1} are used")


class _Uvicorn(uvicorn.Server):
    """One that ends at once, whoever still waits."""

    def __init__(self, config: uvicorn.Config, server: Server):
        super().__init__(config)
        self._server, self.received = server, 0

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.received = sig
        self._server.close()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would tell of each request that is cut off
        self.force_exit = True
        super().handle_exit(sig, frame)


def serve(server: Server, listening: socket.socket) -> None:
    """Answers until Ctrl-C, which is raised again; as Stopped where it was ignored, as in a script's background."""
    config = uvicorn.Config(
        server.application, log_level="error", access_log=False, http="h11", ws="none", lifespan="off",
        server_header=False, date_header=False, limit_concurrency=64,
    )  # fmt: skip
    running = _Uvicorn(config, server)
    try:
        running.run(sockets=[listening])
    finally:
        server.close()
    if running.received:
        raise Stopped(signal.Signals(running.received))
