"""The page at ``/``: these files, and no other, as they are."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, HTTPException, Response

_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}


def page_router() -> APIRouter:
    """``/`` and ``/assets/NAME``; names are looked up, never joined to a path."""
    files = {
        file.name: file.read_bytes()
        for file in resources.files(__package__).iterdir()
        if file.name.rpartition(".")[2] in _TYPES
    }
    router = APIRouter()

    @router.get("/")
    async def page() -> Response:
        return _answer("index.html", files["index.html"])

    @router.get("/assets/{name}")
    async def asset(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "there is no such file")
        return _answer(name, files[name])

    return router


def _answer(name: str, content: bytes) -> Response:
    return Response(content, media_type=f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8")
