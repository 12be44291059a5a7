"""The page: static files, read once into memory and served under their own names only."""

import hashlib
from importlib.resources import files

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each of the page's files, by name."""
    found = {}
    for file in files("cxrlens.serving.page").joinpath("static").iterdir():
        kind = _KINDS.get("." + file.name.rpartition(".")[2])
        if kind:
            found[file.name] = (file.read_bytes(), kind)
    return found


def add_page(app: FastAPI) -> None:
    """Add the page at ``/``, the API's description for people at ``/docs``, and their files."""
    held = page_files()
    tags = {
        name: f'"{hashlib.sha256(content).hexdigest()[:20]}"' for name, (content, _) in held.items()
    }

    def answer(request: Request, name: str) -> Response:
        if name not in held:
            raise HTTPException(404, "there is no such file")
        content, kind = held[name]
        headers = {"etag": tags[name]}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return answer(request, "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return answer(request, "api.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return answer(request, name)
