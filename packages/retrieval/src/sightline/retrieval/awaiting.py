"""The awaitable form of a method: it runs in a thread, and the event loop goes on meanwhile.

This module does not know what is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Awaited(Generic[_Arguments, _Result]):
    """A method of a class that does, awaited, what another method of it does, with the caller's context variables.

    A call that is cancelled goes on in its thread to its end; only its result is lost.

    Args:
        method: method of a class that may be used from several threads.
    """

    def __init__(self, method: Callable[Concatenate[Any, _Arguments], _Result]) -> None:
        self._method = method
        self.__doc__ = f"Await `{getattr(method, '__name__', 'the method')}`, which runs in a thread."

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[_Arguments, Coroutine[Any, Any, _Result]]:
        """Return the method of an object."""
        bound: Callable[_Arguments, _Result] = getattr(self._method, "__get__")(instance, owner)  # noqa: B009 (typed so)

        async def awaited(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
            return await asyncio.to_thread(bound, *arguments, **keywords)

        awaited.__doc__ = self.__doc__
        return awaited
