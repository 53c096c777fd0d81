"""What PostgreSQL's errors mean: for a batch (run it again, not done, unknown) and for a read."""

from __future__ import annotations

from typing import Final

import asyncpg

from narrows.errors import NarrowsError, StorageError, StoreCorrupt, Unavailable
from narrows.storage.backend import BackendFailure

#: A race between transactions: the same again is likely to succeed.
_RACES: Final = (
    asyncpg.SerializationError,  # 40001
    asyncpg.DeadlockDetectedError,  # 40P01
    asyncpg.UniqueViolationError,  # 23505: another node was faster
    asyncpg.LockNotAvailableError,  # 55P03: lock_timeout
    asyncpg.ExclusionViolationError,
)
#: What an operation may be spared that shares its transaction with no other.
_TOO_MUCH_TOGETHER: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.OutOfMemoryError,  # 53200: the server's table of locks is full, too
)
#: The connection is of no use any more: gone, of a server that stops, or of one that became a standby.
LOST: Final = (
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # class 57: shutdown, crash, canceled statement
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # 25006: after a failover this is the old primary
    asyncpg.InternalClientError,
    OSError,  # TimeoutError is one
    EOFError,
)
#: What a pooler answers that lends another server connection for each transaction; the last to settings.
_POOLED: Final = (
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.ProtocolViolationError,
)
_CORRUPT: Final = (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)
#: What may come of opening a connection; a name of no server, or none that takes writes, among it.
NO_CONNECTION: Final = (
    OSError,
    EOFError,
    ValueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

RETRY_AFTER_SECS: Final = 2


def is_lost(error: BaseException) -> bool:
    """Whether nothing more is to be heard on this connection."""
    return isinstance(error, LOST)


def may_be_done(error: BaseException) -> bool:
    """Whether a statement that commits may have done so all the same."""
    return is_lost(error) and not isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def is_taken(error: BaseException) -> bool:
    """Whether somebody else has locked what was only tried."""
    return isinstance(error, asyncpg.LockNotAvailableError)


def tells_of_a_pooler(error: BaseException | None) -> bool:
    """Whether prepared statements do not survive here."""
    while error is not None:
        if isinstance(error, _POOLED):
            return True
        # One of ours that was raised again is its own cause.
        error = error.__cause__ if error.__cause__ is not error else None
    return False


def failure_of(error: Exception) -> BackendFailure:
    """An error as the writer sees it. Raised before COMMIT was sent, it always means: not done."""
    if isinstance(error, BackendFailure):
        return error
    retry = isinstance(error, _RACES) or is_lost(error) or tells_of_a_pooler(error)
    if not retry and not isinstance(error, asyncpg.PostgresError):
        raise error
    if not retry and _is_about_a_value(error):
        raise error  # one operation's affair: the batch is run one at a time
    return BackendFailure(
        sentence(error),
        retry=retry,
        alone=isinstance(error, _TOO_MUCH_TOGETHER),
        clash=isinstance(error, asyncpg.UniqueViolationError),
    )


def _is_about_a_value(error: Exception) -> bool:
    """Classes 22 (data) and 23 (constraints)."""
    return str(getattr(error, "sqlstate", "")).startswith(("22", "23"))


def explain(error: Exception) -> NarrowsError:
    """An error of a read as one of ours, with what to do."""
    if isinstance(error, NarrowsError):
        return error
    if isinstance(error, _CORRUPT):
        return StoreCorrupt(
            f"PostgreSQL cannot read what it wrote ({sentence(error)}). Check its log and its disk, and restore "
            "a backup."
        )
    if isinstance(error, _RACES) or is_lost(error) or isinstance(error, BackendFailure):
        return Unavailable(
            f"The database does not answer ({sentence(error)}). Try again in a moment.",
            retry_after_secs=RETRY_AFTER_SECS,
        )
    return StorageError(f"The database cannot be used: {sentence(error)}.")


def sentence(error: BaseException) -> str:
    text = str(error).partition("\n")[0].rstrip(".")
    return text or type(error).__name__
