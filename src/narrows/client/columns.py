"""How a function that makes a Call, a Plan or a Source becomes a method of a client, with its
signature and docstring: `get = sync_call(calls.get)`. The types are kept whole by ParamSpec. The last
two do the same with the calls of a run, which have its RunPlane before them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from narrows.client.calls.run_plane import RunPlane
from narrows.client.steps import Plan, Source

P = ParamSpec("P")
R = TypeVar("R")


class Performs(Protocol):
    """The sync client, as far as its columns know it."""

    def perform(self, plan: Plan[R]) -> R: ...
    def follow(self, source: Source[R]) -> Iterator[R]: ...


class PerformsAsync(Protocol):
    """The async client, as far as its columns know it."""

    async def perform(self, plan: Plan[R]) -> R: ...
    def follow(self, source: Source[R]) -> AsyncIterator[R]: ...


def sync_call(make: Callable[P, Plan[R]]) -> Callable[Concatenate[Performs, P], R]:
    def method(self: Performs, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.perform(make(*args, **kwargs))

    dress(method, make)
    return method


def async_call(make: Callable[P, Plan[R]]) -> Callable[Concatenate[PerformsAsync, P], Coroutine[Any, Any, R]]:
    async def method(self: PerformsAsync, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.perform(make(*args, **kwargs))

    dress(method, make)
    return method


def sync_source(make: Callable[P, Source[R]]) -> Callable[Concatenate[Performs, P], Iterator[R]]:
    def method(self: Performs, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        return self.follow(make(*args, **kwargs))

    dress(method, make)
    return method


def async_source(make: Callable[P, Source[R]]) -> Callable[Concatenate[PerformsAsync, P], AsyncIterator[R]]:
    def method(self: PerformsAsync, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        return self.follow(make(*args, **kwargs))

    dress(method, make)
    return method


class InRun(Protocol):
    """Something that performs calls of one run, as far as its columns know it."""

    @property
    def plane(self) -> RunPlane: ...
    def perform(self, plan: Plan[R]) -> R: ...


class InRunAsync(Protocol):
    """The same for asyncio."""

    @property
    def plane(self) -> RunPlane: ...
    async def perform(self, plan: Plan[R]) -> R: ...


def sync_run_call(make: Callable[Concatenate[RunPlane, P], Plan[R]]) -> Callable[Concatenate[InRun, P], R]:
    def method(self: InRun, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.perform(make(self.plane, *args, **kwargs))

    dress(method, make, skip=1)
    return method


def async_run_call(
    make: Callable[Concatenate[RunPlane, P], Plan[R]],
) -> Callable[Concatenate[InRunAsync, P], Coroutine[Any, Any, R]]:
    async def method(self: InRunAsync, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.perform(make(self.plane, *args, **kwargs))

    dress(method, make, skip=1)
    return method


def dress(method: Any, make: Callable[..., Any], *, skip: int = 0) -> None:
    """Name, docstring and signature of `make`, with `self` before its parameters but the first `skip`."""
    update_wrapper(method, make)
    del method.__wrapped__  # or its signature would be shown in place of ours
    signature = inspect.signature(make)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    kept = [*signature.parameters.values()][skip:]
    method.__signature__ = signature.replace(parameters=[itself, *kept])
