"""What exists by id only, offered by key too: the key is resolved first, and from then on the id is
used. Pure logic over `steps.py`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from narrows.client import calls
from narrows.client.call import Call, known_id_of
from narrows.client.steps import Conditions, Step
from narrows.wire.messages import CallbackUrl, Trigger

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ById(Generic[R]):
    """A call that needs an id, for a key whose id is not known yet."""

    event_key: str
    call: Callable[[str], Call[R]]

    def steps(self, conditions: Conditions) -> Generator[Step, Any, R]:
        trigger = yield from calls.get(self.event_key).steps(conditions)
        return (yield from self.call(trigger.id).steps(conditions))


def _by_id(
    event_key: str | Trigger | None, trigger_id: str | None, call: Callable[[str], Call[R]]
) -> Call[R] | ById[R]:
    known_id = known_id_of(event_key, trigger_id)
    if known_id is not None:
        return call(known_id)
    assert isinstance(event_key, str)
    return ById(event_key, call)


def extend(
    event_key: str | Trigger | None = None, *, timeout_secs: int, trigger_id: str | None = None
) -> Call[Trigger] | ById[Trigger]:
    """Give a waiting trigger a new time-out, `timeout_secs` (0 to 31,536,000) seconds from now; 0 takes
    it away. Returns the trigger.

    Raises NotFound, and Conflict if it is settled.

    Example::

        client.extend(trigger, timeout_secs=86_400)
    """
    return _by_id(event_key, trigger_id, lambda id_: calls.extend(id_, timeout_secs=timeout_secs))


def create_callback_url(
    event_key: str | Trigger | None = None, *, trigger_id: str | None = None
) -> Call[CallbackUrl] | ById[CallbackUrl]:
    """Make a secret address for one trigger, for providers that can neither send our header nor wrap
    their body: what they POST there is the payload. It is shown this once.

    Raises NotFound, and Conflict if the trigger is settled.

    Example::

        print(client.create_callback_url(trigger).callback_url)
    """
    return _by_id(event_key, trigger_id, calls.create_callback_url)
