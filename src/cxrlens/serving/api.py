"""The HTTP API: routes, their types and their faults. The work is done in `cxrlens.serving.work`."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from cxrlens import __version__
from cxrlens.errors import CxrlensError, FilmError, ModelError
from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation.heatmap import PALETTES, HeatMap
from cxrlens.prediction.predictor import Predictor
from cxrlens.serving.answers import (
    Abilities,
    Explaining,
    Fault,
    FilmAnswer,
    Health,
    HeatMapAnswer,
    JobAnswer,
    Predicted,
    film_answer,
    heat_answer,
    map_pixels,
    png,
    within,
)
from cxrlens.serving.door import HUNG_UP, Front, Guard
from cxrlens.serving.jobs import Job
from cxrlens.serving.limits import BusyError, Limits
from cxrlens.serving.page import add_page
from cxrlens.serving.prometheus import CONTENT_TYPE
from cxrlens.serving.upload import UploadError
from cxrlens.serving.work import ClientGoneError, Service, to_show

Form = Literal["json", "overlay", "map"]

_DESCRIPTION = (
    "What a model says of chest radiographs, and where it looked. **Research use only: not a medical "
    "device, not a diagnosis.** Nothing that is sent is stored. Films are PNG, JPEG, TIFF or DICOM "
    "(CR, DX, secondary capture)."
)

_FILM = {"type": "string", "format": "binary", "description": "PNG, JPEG, TIFF or DICOM."}
_FAULTS: dict[int | str, dict[str, Any]] = {
    401: {"model": Fault, "description": "The token is missing or wrong."},
    408: {"model": Fault, "description": "The upload took too long."},
    413: {"model": Fault, "description": "The request is larger than the limits."},
    422: {"model": Fault, "description": "The film cannot be read, or a value is unknown."},
    503: {"model": Fault, "description": "Busy: come again after the seconds of Retry-After."},
    504: {"model": Fault, "description": "The answer took too long."},
}
_PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


def _form(properties: dict[str, Any], required: str) -> dict[str, Any]:
    schema = {"type": "object", "required": [required], "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def create_app(
    predictor: Predictor,
    card: ModelCard,
    limits: Limits | None = None,
    token: str | None = None,
    *,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    secure: bool = False,
) -> FastAPI:
    """Make the application that serves a model.

    Parameters
    ----------
    predictor, card
        The model and what is known of it.
    limits
        What is taken on; default those of `Limits`.
    token
        What requests must bear, or None.
    hosts, origins
        See `cxrlens.serving.door.Guard`.
    secure
        Whether it is spoken to over TLS.
    """
    origins = list(origins)
    service = Service(predictor, card, limits or Limits())
    guard = Guard(token, hosts, origins)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="cxrlens", version=__version__, description=_DESCRIPTION, docs_url=None,
        redoc_url=None, lifespan=lifespan,
    )  # fmt: skip
    app.state.service = service
    _add_faults(app)
    _add_predictions(app, service)
    _add_explanations(app, service)
    _add_facts(app, service, guard)
    add_page(app)
    app.add_middleware(Front, guard=guard, measures=service.measures, secure=secure)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization"],
            expose_headers=["retry-after", "location", "x-film-width", "x-film-height"],
        )
    return app


def _add_predictions(app: FastAPI, service: Service) -> None:
    limits = service.limits

    @app.post(
        "/predict",
        responses=_FAULTS,
        openapi_extra=_form(
            {"film": {"type": "array", "items": _FILM, "maxItems": limits.films}}, "film"
        ),
    )
    async def predict(
        request: Request,
        seen: Annotated[
            bool, Query(description="Also give the pixels that the network saw.")
        ] = False,
    ) -> Predicted:
        """Predict one or many films: probabilities, quality findings, repairs.

        A film among many that cannot be read has an `error` and the others their answers; if none can be
        read, the status is 422.
        """

        async def one(number: int, name: str, data: bytes) -> FilmAnswer | FilmError:
            try:
                async with service.predict(data, f"film {number}") as prediction:
                    return film_answer(name, prediction, seen)
            except FilmError as error:
                return error

        with service.places.hold() as more_places:
            async with service.read(request) as upload:
                more_places(len(upload.films) - 1)
                outcomes = await service.unless_gone(
                    request,
                    _together(one(n, name, data) for n, (name, data) in enumerate(upload.films, 1)),
                )
                names = [name for name, _ in upload.films]
        first = outcomes[0]
        if isinstance(first, FilmError) and all(isinstance(one, FilmError) for one in outcomes):
            raise first
        return Predicted(
            films=[
                FilmAnswer(name=name, error=str(outcome))
                if isinstance(outcome, FilmError)
                else outcome
                for name, outcome in zip(names, outcomes, strict=True)
            ],
            model=service.card.name,
            digest=service.card.digest,
        )

    @app.post(
        "/film",
        response_class=Response,
        responses={200: {"content": _PNG, "description": "8-bit grey."}, **_FAULTS},
        openapi_extra=_form({"film": _FILM}, "film"),
    )
    async def film(
        request: Request,
        max_side: Annotated[int, Query(ge=64, le=16384, description="Shrink to this side.")] = 4096,
    ) -> Response:
        """Give a film as the model's reader decodes it: 8-bit grey, 0 black.

        DICOM is shown as its tags say. The film's own size stands in X-Film-Width and X-Film-Height.
        """

        async def work(data: bytes) -> Response:
            async with service.decode(data, "the film") as pixels:
                height, width = pixels.shape
                return Response(
                    await service.draw(lambda: png(within(pixels, max_side))),
                    media_type="image/png",
                    headers={"x-film-width": str(width), "x-film-height": str(height)},
                )

        with service.places.hold():
            async with service.read_one(request) as (data, _):
                return await service.unless_gone(request, work(data))


async def _together(films: Iterable[Any]) -> list[FilmAnswer | FilmError]:
    return list(await asyncio.gather(*films))


def _add_explanations(app: FastAPI, service: Service) -> None:
    methods = service.predictor.methods

    @app.post(
        "/explain",
        response_model=HeatMapAnswer,
        responses={
            200: {"content": _PNG, "description": "The map, or a picture of it."},
            202: {"model": JobAnswer, "description": "A slow method: ask the job at Location."},
            **_FAULTS,
        },
        openapi_extra=_form(
            {
                "film": _FILM,
                "method": {
                    "type": "string",
                    "enum": [method.name for method in methods],
                    "default": methods[0].name,
                    "description": "; ".join(
                        f"{method.name}: {method.about}" for method in methods
                    ),
                },
                "target": {
                    "type": "string",
                    "enum": list(service.predictor.classes),
                    "description": "The class to explain; default the predicted one.",
                },
                "as": {
                    "type": "string",
                    "enum": ["json", "overlay", "map"],
                    "default": "json",
                    "description": "json; overlay: PNG of film and map in colour; map: PNG, 8-bit grey.",
                },
                "palette": {"type": "string", "enum": list(PALETTES), "default": "ember"},
            },
            "film",
        ),
    )
    async def explain(request: Request) -> Response:
        """Show where the model looked: quick methods at once, slower ones as a job (202)."""

        async def work(data: bytes, fields: dict[str, str]) -> Response:
            method, wanted = fields.get("method") or None, fields.get("target") or None
            form, palette = fields.get("as") or "json", fields.get("palette") or "ember"
            service.check(method, wanted)
            _check_form(form, palette)
            async with service.predict(data, "the film") as found:
                prediction = to_show(found)
                del found
            chosen, target = service.predictor.chosen(prediction, method, wanted)
            if not chosen.quick:
                return _job_answer(service.jobs.start(prediction, chosen.name, target), 202)
            heat = await service.explain(prediction, chosen.name, target)
            said = prediction.predicted, prediction.probabilities
            return await service.draw(lambda: _shown(*said, heat, form, palette))

        with service.places.hold():
            async with service.read_one(request) as (data, fields):
                return await service.unless_gone(request, work(data, fields))

    @app.get("/jobs/{job}", response_model=JobAnswer, responses={404: {"model": Fault}})
    async def job(job: str) -> Response:
        """Ask how far a slow explanation is. One that nobody asks for is given up after a while."""
        return _job_answer(_found(service.jobs.get(job)))

    @app.delete("/jobs/{job}", response_model=JobAnswer, responses={404: {"model": Fault}})
    async def cancel(job: str) -> Response:
        """Give an explanation up and forget its map."""
        return _job_answer(_found(service.jobs.cancel(job)))

    @app.get(
        "/jobs/{job}/result",
        response_model=HeatMapAnswer,
        responses={
            200: {"content": _PNG},
            404: {"model": Fault},
            409: {"model": Fault, "description": "Not done."},
        },
    )
    async def result(
        job: str,
        form: Annotated[Form, Query(alias="as")] = "json",
        palette: Annotated[Literal["ember", "report"], Query()] = "ember",
    ) -> Response:
        """Fetch the map of an explanation that is done."""
        found = _found(service.jobs.get(job))
        heat = found.heat
        if heat is None:
            why = found.error or "there is no map"
            raise HTTPException(409, f"the explanation is {found.status}: {why}")
        said = found.predicted, found.probabilities
        return await service.draw(lambda: _shown(*said, heat, form, palette))


def _found(job: Job | None) -> Job:
    if job is None:
        raise HTTPException(404, "there is no such job: it was never started, or is long over")
    return job


def _job_answer(job: Job, status: int = 200) -> Response:
    content = JobAnswer(
        id=job.id,
        status=job.status,
        method=job.method,
        target=job.target,
        done=job.done,
        of=job.of,
        error=job.error,
    )
    headers = {"location": f"/jobs/{job.id}"} if status == 202 else None
    return JSONResponse(content.model_dump(mode="json"), status, headers)


def _check_form(form: str, palette: str) -> None:
    if form not in ("json", "overlay", "map"):
        raise CxrlensError(f"unknown form {form!r}: known are json, overlay, map")
    if palette not in PALETTES:
        raise CxrlensError(f"unknown palette {palette!r}: known are {', '.join(PALETTES)}")


def _shown(
    predicted: str, probabilities: dict[str, float], heat: HeatMap, form: str, palette: str
) -> Response:
    if form == "overlay":
        return Response(png(heat.overlay(palette)), media_type="image/png")
    if form == "map":
        return Response(png(map_pixels(heat)), media_type="image/png")
    return JSONResponse(heat_answer(predicted, probabilities, heat).model_dump(mode="json"))


def _add_facts(app: FastAPI, service: Service, guard: Guard) -> None:
    limits = service.limits

    @app.get("/model")
    async def model() -> ModelCard:
        """Say which model answers, trained on whom, how well it did, and what must be known."""
        return service.card

    @app.get("/abilities")
    async def abilities() -> Abilities:
        """Say what the server can do, and its limits."""
        methods = service.predictor.methods
        return Abilities(
            methods=[method.name for method in methods],
            slow=[method.name for method in methods if not method.quick],
            explanations=[
                Explaining.model_validate(method, from_attributes=True) for method in methods
            ],
            film_bytes=limits.film_bytes,
            film_pixels=limits.film_pixels,
            films=limits.films,
            version=__version__,
        )

    @app.get("/health")
    async def health() -> Health:
        """Say that the server is up; needs no token."""
        return Health(token=guard.asks_for_token)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Give counters in Prometheus' text format."""
        return Response(service.measures.text(), media_type=CONTENT_TYPE)


_PLAIN = {
    "Not Found": "there is nothing at this address: /docs lists what there is",
    "Method Not Allowed": "this address takes another method: /docs says which",
}
"""For the words that Starlette has for a status and nothing else."""


def _add_faults(app: FastAPI) -> None:
    def fault(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": sentence}, status, headers)

    @app.exception_handler(UploadError)
    async def upload(request: Request, error: UploadError) -> Response:
        return fault(error.status, str(error))

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> Response:
        return fault(503, str(error), {"retry-after": str(error.seconds)})

    @app.exception_handler(ModelError)
    async def model(request: Request, error: ModelError) -> Response:
        return fault(500, str(error))

    @app.exception_handler(CxrlensError)
    async def own(request: Request, error: CxrlensError) -> Response:
        return fault(422, str(error))

    @app.exception_handler(TimeoutError)
    async def late(request: Request, error: TimeoutError) -> Response:
        return fault(504, "the answer took too long: come again later", {"retry-after": "10"})

    @app.exception_handler(ClientGoneError)
    async def gone(request: Request, error: ClientGoneError) -> Response:
        return Response(status_code=HUNG_UP)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return fault(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        said = _PLAIN.get(str(error.detail), str(error.detail))
        return fault(error.status_code, said, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return fault(500, "the server failed: its log says why")
