"""Every exit code of `narrows`, once. They are stable: scripts and CI branch on them. The list in
`narrows --help` and in the docs is made from `MEANINGS`. Not here: what is printed on the way out."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from narrows import errors
from narrows.config import ConfigInvalid


class Exit(IntEnum):
    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    TIMED_OUT = 3
    CANCELED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    REFUSED = 7
    NO_CONNECTION = 8
    UNAUTHORISED = 9
    OUTCOME_UNKNOWN = 10
    STORE = 11
    FAILED = 12
    DEAD_LETTER = 13
    INTERRUPTED = 130


MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "done; of `events wait`: the event was received, its payload is on stdout; of "
    "`jobs trigger --wait`, `workflows run --wait` and both `watch`: the run completed",
    Exit.UNEXPECTED: "an unexpected failure",
    Exit.USAGE: "the command line or the configuration is wrong; nothing was done",
    Exit.TIMED_OUT: "the wait or the run timed out",
    Exit.CANCELED: "the wait or the run was canceled",
    Exit.NOT_FOUND: "there is no such wait, event, job, workflow, run, delivery, key or project",
    Exit.CONFLICT: "the state does not allow it: settled or ended already, or the key or slug is taken",
    Exit.REFUSED: "the server refused the request: not valid, too large, or a limit is reached",
    Exit.NO_CONNECTION: "no server answered, or it is unavailable; nothing was done",
    Exit.UNAUTHORISED: "no API key, a wrong one, or one without the scope",
    Exit.OUTCOME_UNKNOWN: "the server could not say whether it was done; ask before repeating",
    Exit.STORE: "the database is damaged, locked or of another version; `verify` found a fault",
    Exit.FAILED: "the run failed, and is not tried again",
    Exit.DEAD_LETTER: "the run failed at every attempt that its job allows; `runs replay` starts it again",
    Exit.INTERRUPTED: "Ctrl-C; a wait stays open, a run goes on",
}

#: The nearest class in an error's ancestry decides.
_BY_ERROR: Final[dict[type[errors.NarrowsError], Exit]] = {
    ConfigInvalid: Exit.USAGE,
    errors.NotFound: Exit.NOT_FOUND,
    errors.Conflict: Exit.CONFLICT,
    errors.Gone: Exit.CONFLICT,
    errors.Unauthenticated: Exit.UNAUTHORISED,
    errors.Forbidden: Exit.UNAUTHORISED,
    errors.Unavailable: Exit.NO_CONNECTION,
    errors.Refusal: Exit.REFUSED,
    errors.ConnectionFailed: Exit.NO_CONNECTION,
    errors.OutcomeUnknown: Exit.OUTCOME_UNKNOWN,
    errors.StorageError: Exit.STORE,
    errors.NarrowsError: Exit.UNEXPECTED,
}


def exit_of(error: BaseException) -> Exit:
    """The exit code for an error: its own class's, else that of its nearest parent."""
    for cls in type(error).__mro__:
        if cls in _BY_ERROR:
            return _BY_ERROR[cls]
    return Exit.UNEXPECTED
