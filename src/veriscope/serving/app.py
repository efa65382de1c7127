"""The application: routes over one engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Security
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route

from veriscope import __version__
from veriscope.bundle.scorer import Scorer
from veriscope.predict.faces import FaceCutter
from veriscope.predict.judge import Judge
from veriscope.serving.engine import Engine
from veriscope.serving.errors import ApiError
from veriscope.serving.guard import Guard
from veriscope.serving.metrics import MEDIA_TYPE, Metrics
from veriscope.serving.openapi import DESCRIPTION, form, problems
from veriscope.serving.page import load_page
from veriscope.serving.parts import capabilities, heat_map, video_verdict
from veriscope.serving.schemas import (
    Answer,
    Capabilities,
    Explained,
    FileError,
    FileVerdict,
    Health,
    HeatMap,
    Model,
    Verdicts,
)
from veriscope.serving.settings import Access, Limits
from veriscope.serving.sniff import sniff
from veriscope.serving.upload import Held, Reader, Upload
from veriscope.serving.verdicts import describe, model_name, oversized, picture_verdict, video_answer
from veriscope.types import VideoVerdict

T = TypeVar("T")


def create_app(
    judge: Judge,
    scorer: Scorer,
    *,
    limits: Limits,
    access: Access | None = None,
    unsure: bool = True,
    cutter: FaceCutter | None = None,
) -> FastAPI:
    """Return the application. `app.state.engine` is its Engine, which runs from the lifespan's start to its end.

    Args:
        judge: turns scores into verdicts, as `veriscope predict` does.
        scorer: of the judge's bundle, with the judge's calibration and a batch size of at least the limits' one.
        limits: what a request may cost.
        access: who may ask; None: everybody who reaches the server.
        unsure: False: a part of a video that looks fake doesn't make it unsure.
        cutter: what cuts faces out of pictures and frames; None: wholes are judged.

    """
    access = Access() if access is None else access
    metrics = Metrics()
    granted = capabilities(cutter)
    engine = Engine(scorer, limits=limits, metrics=metrics, cutter=cutter, videos=granted.video)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await engine.start()
            yield
        finally:
            await engine.stop()

    app = FastAPI(
        title="veriscope",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # Swagger's page comes from another host
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS it would lead to http:
        exception_handlers={HTTPException: _from_router},
    )
    app.state.engine = engine
    held = Held(limits.max_held_bytes)
    api = _Api(judge, engine, granted, held=held, unsure=unsure)
    _add_v1(app, api, guarded=access.token is not None)
    _add_operation(app, engine, held)
    _add_page(app)
    app.add_middleware(Guard, access=access, metrics=metrics)
    return app


def _add_v1(app: FastAPI, api: "_Api", *, guarded: bool) -> None:
    """Add the API; `guarded`: its description says that it asks for a token, which the Guard does."""
    v1 = APIRouter(prefix="/v1", dependencies=[Security(HTTPBearer(auto_error=False))] if guarded else [])
    v1.post(
        "/predict",
        summary="Verdicts for pictures and videos",
        response_model=Verdicts,
        responses=problems(400, 408, 413, 415, 503, 504, guarded=guarded),
        openapi_extra=form(max_files=api.limits.max_files),
    )(api.predict)
    v1.post(
        "/explain",
        summary="Where a score comes from, for one picture",
        response_model=Explained,
        responses=problems(400, 408, 413, 415, 503, 504, guarded=guarded),
        openapi_extra=form(max_files=1),
    )(api.explain)
    v1.get(
        "/model",
        summary="The detector, what its verdicts rest on, and what the server grants",
        response_model=Model,
        responses=problems(guarded=guarded),
    )(api.describe)
    app.include_router(v1)


class _Api:
    """The routes below /v1."""

    def __init__(self, judge: Judge, engine: Engine, granted: Capabilities, *, held: Held, unsure: bool) -> None:
        self.judge = judge
        self.engine = engine
        self.limits = engine.limits
        self.held = held
        self.unsure = unsure
        self.capabilities = granted
        model = describe(judge, engine.scorer, limits=self.limits, capabilities=self.capabilities, cutter=engine.cutter)
        self.model = model.model_dump_json()

    async def predict(self, request: Request) -> Response:
        """Judge one or many pictures and videos. The answers come in the order of the files, each with a verdict or an
        error."""
        reader = Reader(limits=self.limits, held=self.held, videos=self.capabilities.video)
        try:
            uploads = await self._uploads(request, reader)
            results = await _while_connected(request, self._judge(uploads))
        finally:
            reader.release()
        for result in results:
            self.engine.metrics.pictures.labels(result.verdict or "error").inc()
        answer = Verdicts(
            request_id=request.state.request_id,
            model=model_name(self.judge.bundle),
            threshold=self.judge.threshold.value,
            results=results,
            notices=list(self.judge.bundle.notices),
        )
        return _json(answer)

    async def explain(self, request: Request) -> Response:
        """Return where the evidence lies in one picture: a heat map, and what it can't tell."""
        reader = Reader(limits=replace(self.limits, max_files=1), held=self.held)
        try:
            (upload,) = await self._uploads(request, reader)
            if upload.data is None:
                found: HeatMap | FileError | None = oversized(self.limits).error
            else:
                found = await _while_connected(request, heat_map(self.engine, upload.data, judge=self.judge))
        finally:
            reader.release()
        answer = Explained(
            request_id=request.state.request_id,
            model=model_name(self.judge.bundle),
            name=upload.name,
            heat=found if isinstance(found, HeatMap) else None,
            error=found if isinstance(found, FileError) else None,
        )
        return _json(answer)

    async def describe(self) -> Response:
        """Return the detector's facts, its thresholds and its model card, and the limits and parts of this server."""
        return Response(self.model, media_type="application/json")

    async def _judge(self, uploads: list[Upload]) -> list[FileVerdict]:
        """Return the answers for all files; pictures go together, videos beside them."""
        videos = [upload for upload in uploads if self._is_video(upload)]
        pictures = [upload for upload in uploads if upload.data is not None and not self._is_video(upload)]
        judging = asyncio.ensure_future(
            self.engine.judge([upload.data for upload in pictures if upload.data is not None])
        )
        watching = [asyncio.ensure_future(self._watch(upload)) for upload in videos]
        try:
            answers = await asyncio.gather(judging, asyncio.gather(*watching))
        finally:  # where one fails, nobody waits for the others
            for task in (judging, *watching):
                task.cancel()
        judged, watched = iter(answers[0]), iter(answers[1])
        results, cutter = [], self.engine.cutter
        for index, upload in enumerate(uploads):
            if self._is_video(upload):
                verdict, sha256 = next(watched)
                results.append(video_answer(index, upload, verdict, sha256, judge=self.judge, cutter=cutter))
            else:
                found = oversized(self.limits, videos=self.capabilities.video) if upload.data is None else next(judged)
                results.append(picture_verdict(index, upload, found, judge=self.judge, cutter=cutter))
        return results

    def _is_video(self, upload: Upload) -> bool:
        return self.capabilities.video and upload.data is not None and sniff(upload.data)[0] == "video"

    async def _watch(self, upload: Upload) -> tuple[VideoVerdict, str]:
        return await video_verdict(
            self.engine,
            upload.data or b"",
            judge=self.judge,
            may_be_unsure=self.unsure,
            timeout_s=self.limits.video_s,
        )

    async def _uploads(self, request: Request, reader: Reader) -> list[Upload]:
        self.engine.refuse_if_stopping()
        self.engine.refuse_if_full()
        return await reader.read(request.headers, request.stream(), retry_after_s=self.engine.retry_after_s())


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` comes to; it is cancelled as soon as the client has gone.

    Raises:
        ClientDisconnect: it has gone.

    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(answer: Answer, *, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json")


async def _from_router(_: Request, error: Exception) -> Response:
    """Hand the router's own errors (404, 405) to the Guard, which gives every error its shape."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    raise ApiError(status, status.name.lower(), f"{status.phrase}.", headers=error.headers) from None


def _add_operation(app: FastAPI, engine: Engine, held: Held) -> None:
    """Add what operators and their machines ask."""

    async def healthz() -> Response:
        """Say that the process answers."""
        return _json(Health(status="ok"))

    async def readyz() -> Response:
        """Say whether requests are taken: 503 while the detector starts, and from the moment that it is to end."""
        if engine.ready and not engine.stopping:
            return _json(Health(status="ok"))
        waiting = Health(status="stopping" if engine.stopping else "starting")
        return _json(waiting, status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def numbers() -> Response:
        """Return the counters in Prometheus' text format."""
        engine.metrics.ready.set(engine.ready and not engine.stopping)
        engine.metrics.held.set(held.count)
        return Response(engine.metrics.text(), media_type=MEDIA_TYPE)

    app.get("/healthz", summary="Is the process alive?", response_model=Health)(healthz)
    unready: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "Not now"}}
    app.get("/readyz", summary="Does it take requests?", response_model=Health, responses=unready)(readyz)
    app.get("/metrics", summary="Counters for Prometheus", response_class=Response, include_in_schema=False)(numbers)


def _add_page(app: FastAPI) -> None:
    assets = load_page()

    async def serve(request: Request) -> Response:
        asset = assets.get(request.path_params.get("name", "index.html"))
        if asset is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "not_found", "Not Found.")
        # Asked anew each time, answered without a body while it is the same: a page of one version with a script of
        # another would break.
        headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(asset.body, media_type=asset.media_type, headers=headers)

    app.router.routes.append(Route("/", serve))
    app.router.routes.append(Route("/static/{name}", serve))
