"""How routes read JSON, and how long they may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pydantic
import pydantic_core
from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

Result = TypeVar("Result")


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body as RFC 8259 has it: no NaN, no lone surrogates, no endless nesting."""
        try:
            return pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from None


class StrictRoute(APIRoute):
    """A route whose body is read strictly: what is no JSON by the book is refused with 400."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute``."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly


async def in_time(answer: Awaitable[Result], seconds: float) -> Result:
    """The answer. Raises HTTPException 503 if it takes longer; then it isn't computed any more."""
    try:
        return await asyncio.wait_for(answer, seconds)
    except asyncio.TimeoutError:
        raise HTTPException(
            503, f"no answer within {seconds:g} s; ask for less", {"Retry-After": "1"}
        ) from None


async def json_response(make: Callable[[], pydantic.BaseModel]) -> Response:
    """What ``make`` gives, as JSON, made beside the event loop: for answers of many numbers."""
    content = await asyncio.to_thread(lambda: make().model_dump_json())
    return Response(content, media_type="application/json")
