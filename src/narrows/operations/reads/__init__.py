"""Reads: questions as frozen values, which never change anything. One file per noun; whoever asks
takes them from here."""

from narrows.operations.reads.access import GetApiKey, GetProject, ListApiKeys, ListProjects
from narrows.operations.reads.bodies import LoadBodies, LoadSchema
from narrows.operations.reads.due import (
    CountByStatus,
    DueHeldEvents,
    DueTriggers,
    OldestWaiting,
    ReadMark,
    SchemaVersion,
)
from narrows.operations.reads.events import ListHeldEvents, ListUnmatched
from narrows.operations.reads.explain import Explain, Explanation
from narrows.operations.reads.listing import ListTriggers
from narrows.operations.reads.near_keys import NearKeys, NearWaits
from narrows.operations.reads.paging import Page
from narrows.operations.reads.retention import CountSettled, OldRows, SettledTriggers
from narrows.operations.reads.triggers import (
    GetStats,
    GetTrigger,
    GetTriggerById,
    Timeline,
    WaitingUnderPrefix,
)

__all__ = [
    "CountByStatus",
    "CountSettled",
    "DueHeldEvents",
    "DueTriggers",
    "Explain",
    "Explanation",
    "GetApiKey",
    "GetProject",
    "GetStats",
    "GetTrigger",
    "GetTriggerById",
    "ListApiKeys",
    "ListHeldEvents",
    "ListProjects",
    "ListTriggers",
    "ListUnmatched",
    "LoadBodies",
    "LoadSchema",
    "NearKeys",
    "NearWaits",
    "OldRows",
    "OldestWaiting",
    "Page",
    "ReadMark",
    "SchemaVersion",
    "SettledTriggers",
    "Timeline",
    "WaitingUnderPrefix",
]
