"""The HTTP API: routes, their types and faults, and the page; the work is done in `cxrlens.serving.work`."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, get_args

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from cxrlens import __version__
from cxrlens.errors import CxrlensError, FilmError, ModelError
from cxrlens.evaluation.card import ModelCard
from cxrlens.explanation import method_named
from cxrlens.explanation.heatmap import PALETTES, HeatMap
from cxrlens.prediction.predictor import Predictor
from cxrlens.serving.answers import (
    Abilities,
    Fault,
    FilmAnswer,
    Health,
    HeatMapAnswer,
    JobAnswer,
    MethodAnswer,
    Predicted,
    Thresholds,
    card_in,
    curves_answer,
    film_answer,
    heat_answer,
    map_pixels,
    png,
    verdict,
    within,
)
from cxrlens.serving.door import Guard, Middleware
from cxrlens.serving.limits import Limits
from cxrlens.serving.work import Engine, Job, to_show

Form = Literal["json", "overlay", "map"]

_DESCRIPTION = (
    "What a model says of chest radiographs, and where it looked. **Research use only: not a medical "
    "device, not a diagnosis.** Nothing that is sent is stored. Films are PNG, JPEG, TIFF or DICOM "
    "(CR, DX, secondary capture)."
)

_FILM = {"type": "string", "format": "binary", "description": "PNG, JPEG, TIFF or DICOM."}


def _documented(faults: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Fault, "description": why} for status, why in faults.items()}


_REFUSED = _documented(
    {
        401: "The token is missing or wrong.",
        403: "Another site's page asks.",
        421: "The server does not answer to this host's name.",
    }
)
_FAULTS = _documented(
    {
        400: "The form is broken, or holds no film.",
        408: "The upload took too long.",
        413: "The request is larger than the limits.",
        415: "The request is no multipart/form-data.",
        422: "The film cannot be read, or a value is unknown.",
        503: "Busy: come again after the seconds of Retry-After.",
        504: "The answer took too long.",
    }
)
_PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


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
    """Return the application that serves a model.

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
    engine = Engine(predictor, card, limits or Limits())
    guard = Guard(token, hosts, origins)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = FastAPI(
        title="cxrlens", version=__version__, description=_DESCRIPTION, docs_url=None,
        redoc_url=None, lifespan=lifespan, responses=_REFUSED,
    )  # fmt: skip
    app.state.engine = engine
    _add_faults(app)
    _add_predictions(app, engine)
    _add_explanations(app, engine)
    _add_facts(app, engine, guard)
    _add_page(app)
    app.add_middleware(Middleware, guard=guard, counters=engine.counters, secure=secure)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization"],
            expose_headers=["retry-after", "location", "x-film-width", "x-film-height"],
        )
    return app


def _form(**properties: dict[str, Any]) -> dict[str, Any]:
    """Describe a multipart form, which FastAPI does not read here, for OpenAPI."""
    schema = {"type": "object", "required": ["film"], "properties": properties}
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _choice(known: Iterable[str], about: str, **default: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(known), "description": about, **default}


def _add_predictions(app: FastAPI, engine: Engine) -> None:
    many = {"type": "array", "items": _FILM, "minItems": 1, "maxItems": engine.limits.films}

    @app.post("/predict", responses=_FAULTS, openapi_extra=_form(film=many))
    async def predict(
        request: Request,
        seen: Annotated[bool, Query(description="Also the pixels that the network saw.")] = False,
        what_if: Annotated[
            bool, Query(description="Also the answer at each threshold of /thresholds.")
        ] = False,
    ) -> Predicted:
        """Predict one or many films: probabilities, quality findings, repairs.

        A film among many that cannot be read has an `error` and the others their answers; if none can be
        read, the status is 422.
        """

        async def one(number: int, name: str, data: bytes) -> FilmAnswer:
            try:
                async with engine.predict(data, f"film {number}") as prediction:
                    return film_answer(name, prediction, seen, what_if)
            except FilmError as error:
                return FilmAnswer(name=name, error=str(error))

        async with engine.read(request) as upload:
            work = asyncio.gather(*(one(n, *film) for n, film in enumerate(upload.films, 1)))
            films = await engine.while_waited_for(request, work)
        if all(film.error for film in films):
            raise HTTPException(422, str(films[0].error))
        return Predicted(
            films=films, model=engine.card.name, digest=engine.card.digest, site=engine.card.site
        )

    @app.post(
        "/film",
        response_class=Response,
        responses={200: {"content": _PNG, "description": "8-bit grey."}, **_FAULTS},
        openapi_extra=_form(film=_FILM),
    )
    async def film(
        request: Request,
        max_side: Annotated[int, Query(ge=64, le=16384, description="Shrink to this side.")] = 4096,
    ) -> Response:
        """Return a film as the model's reader decodes it: 8-bit grey, 0 black.

        DICOM is shown as its tags say. The film's own size stands in X-Film-Width and X-Film-Height.
        """

        async def work(data: bytes) -> Response:
            async with engine.decode(data, "the film") as film:
                height, width = film.pixels.shape
                picture = await engine.draw(lambda: png(within(film.pixels, max_side)))
            size = {"x-film-width": str(width), "x-film-height": str(height)}
            return Response(picture, media_type="image/png", headers=size)

        async with engine.read(request, most=1) as upload:
            return await engine.while_waited_for(request, work(upload.films[0][1]))


def _add_explanations(app: FastAPI, engine: Engine) -> None:
    methods, classes = engine.predictor.methods, engine.predictor.classes
    forms, palettes = get_args(Form), tuple(PALETTES)
    about = "json; overlay: PNG of film and map in colour; map: PNG, 8-bit grey."
    form = _form(
        film=_FILM,
        method=_choice(
            (method.name for method in methods),
            "; ".join(f"{method.name}: {method.about}" for method in methods),
            default=methods[0].name,
        ),
        target=_choice(classes, "The class to explain; default the predicted one."),
        palette=_choice(palettes, "Of the overlay.", default="ember"),
        **{"as": _choice(forms, about, default="json")},
    )

    @app.post(
        "/explain",
        response_model=HeatMapAnswer,
        responses={
            200: {"content": _PNG, "description": "The map, or a picture of it."},
            202: {"model": JobAnswer, "description": "A slow method: ask the job at Location."},
            **_FAULTS,
        },
        openapi_extra=form,
    )
    async def explain(request: Request) -> Response:
        """Show where the model looked: quick methods at once, slower ones as a job (202)."""

        async def work(data: bytes, fields: dict[str, str]) -> Response:
            method, target = fields.get("method") or None, fields.get("target") or None
            form, palette = fields.get("as") or "json", fields.get("palette") or "ember"
            # Before any work: a film is not decoded for a request that cannot be answered.
            if method:
                method_named(method)
            _check("class", target or classes[0], classes)
            _check("form", form, forms)
            _check("palette", palette, palettes)
            async with engine.predict(data, "the film") as found:
                prediction = to_show(found)
                del found
            chosen, target = engine.predictor.chosen(prediction, method, target)
            if not chosen.quick:
                return _job_answer(engine.jobs.start(prediction, chosen.name, target), 202)
            heat = await engine.explain(prediction, chosen.name, target)
            return await engine.draw(lambda: _drawn(verdict(prediction), heat, form, palette))

        async with engine.read(request, most=1) as upload:
            return await engine.while_waited_for(request, work(upload.films[0][1], upload.fields))

    @app.get("/jobs/{job}", response_model=JobAnswer, responses={404: {"model": Fault}})
    async def job(job: str) -> Response:
        """Ask how far a slow explanation is. One that nobody asks for is given up after a while."""
        return _job_answer(_found(engine.jobs.get(job)))

    @app.delete("/jobs/{job}", response_model=JobAnswer, responses={404: {"model": Fault}})
    async def cancel(job: str) -> Response:
        """Give an explanation up and forget its map."""
        return _job_answer(_found(engine.jobs.cancel(job)))

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
        found = _found(engine.jobs.get(job))
        heat = found.heat
        if heat is None:
            why = found.error or "there is no map"
            raise HTTPException(409, f"the explanation is {found.status}: {why}")
        return await engine.draw(lambda: _drawn(found.said, heat, form, palette))


def _check(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise CxrlensError(f"unknown {what} {value!r}: known are {', '.join(known)}")


def _found(job: Job | None) -> Job:
    if job is None:
        raise HTTPException(404, "there is no such job: it was never started, or is long over")
    return job


def _job_answer(job: Job, status: int = 200) -> Response:
    content = JobAnswer.model_validate(job, from_attributes=True).model_dump(mode="json")
    headers = {"location": f"/jobs/{job.id}"} if status == 202 else None
    return JSONResponse(content, status, headers)


def _drawn(said: dict[str, Any], heat: HeatMap, form: str, palette: str) -> Response:
    if form == "json":
        return JSONResponse(heat_answer(said, heat).model_dump(mode="json"))
    picture = heat.overlay(palette) if form == "overlay" else map_pixels(heat)
    return Response(png(picture), media_type="image/png")


def _add_facts(app: FastAPI, engine: Engine, guard: Guard) -> None:
    @cache
    def page() -> str:
        # It brings the drawing of figures along: no server need load that before its card is asked for.
        from cxrlens.reports.trust import card_page

        return card_page(engine.card).render()

    @app.get("/model")
    async def model(
        lang: Annotated[str, Query(description="Of its own sentences: en, es; else en.")] = "en",
    ) -> ModelCard:
        """Return which model answers, trained on whom, how well it did, and what must be known."""
        return card_in(engine.card, lang)

    @app.get("/thresholds")
    async def thresholds() -> Thresholds:
        """Return how well other thresholds part films, with intervals: a what-if that changes no setting."""
        return curves_answer(engine.predictor.trust, engine.card.digest)

    @app.get("/model/card", response_class=HTMLResponse)
    async def whole_card() -> Response:
        """Return the whole trust card as a page, CLAIM's and TRIPOD+AI's items included."""
        # It loads nothing and runs nothing; its style is inside.
        alone = (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
        )
        return HTMLResponse(
            await asyncio.to_thread(page), headers={"content-security-policy": alone}
        )

    @app.get("/abilities")
    async def abilities() -> Abilities:
        """Return what the server can do, and its limits."""
        methods, limits = engine.predictor.methods, engine.limits
        return Abilities(
            methods=[method.name for method in methods],
            slow=[method.name for method in methods if not method.quick],
            explanations=[MethodAnswer.model_validate(m, from_attributes=True) for m in methods],
            film_bytes=limits.film_bytes,
            film_pixels=limits.film_pixels,
            films=limits.films,
            version=__version__,
        )

    @app.get("/health")
    async def health() -> Health:
        """Return that the server is up; needs no token."""
        return Health(token=guard.asks_for_token)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return counters in Prometheus' text format."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(generate_latest(engine.counters.registry), media_type=kind)


_KINDS = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "json": "application/json",
    "svg": "image/svg+xml",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """Return content and media type of each of the page's files, by name, e.g. ``words/en.json``."""
    static = files("cxrlens.serving").joinpath("page", "static")
    found = {}
    for folder, before in ((static, ""), (static.joinpath("words"), "words/")):
        for file in folder.iterdir():
            kind = _KINDS.get(file.name.rpartition(".")[2])
            if kind:
                found[before + file.name] = (file.read_bytes(), kind)
    return found


def _add_page(app: FastAPI) -> None:
    """Add the page, the API's description for people, and their files, read once and served by name alone."""
    held = page_files()

    pages = {"/": "index.html", "/docs": "api.html"}

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    @app.get("/static/{name:path}", include_in_schema=False)
    async def page(request: Request) -> Response:
        name = request.path_params.get("name") or pages.get(request.scope["path"], "")
        if name not in held:
            raise HTTPException(404, "there is no such file")
        content, kind = held[name]
        headers = {"etag": f'"{hashlib.sha256(content).hexdigest()[:20]}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)


_PLAIN = {
    "Not Found": "there is nothing at this address: /docs lists what there is",
    "Method Not Allowed": "this address takes another method: /docs says which",
}
"""For the words that Starlette has for a status and nothing else."""


def _add_faults(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        said = _PLAIN.get(error.detail, error.detail)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # Starlette names the methods of the first route of an address; others may have more.
            fit = (r for r in app.routes if r.matches(request.scope)[0] is not Match.NONE)
            headers["Allow"] = ", ".join(
                sorted({m for r in fit for m in getattr(r, "methods", ())})
            )
        return JSONResponse({"error": said}, error.status_code, headers)

    @app.exception_handler(CxrlensError)
    async def own(request: Request, error: CxrlensError) -> Response:
        return JSONResponse({"error": str(error)}, 500 if isinstance(error, ModelError) else 422)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return JSONResponse({"error": f"{first['loc'][-1]}: {first['msg']}"}, 422)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the server failed: its log says why"}, 500)
