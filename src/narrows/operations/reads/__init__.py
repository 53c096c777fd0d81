"""Reads: questions as frozen values, which never change anything. One file per noun; whoever asks
takes them from here."""

from narrows.operations.reads.access import GetApiKey, GetProject, ListApiKeys, ListProjects
from narrows.operations.reads.bodies import LoadBodies, LoadSchema
from narrows.operations.reads.checkpoints import Checkpoint, RunCheckpoint, RunCheckpoints, WaitingFor
from narrows.operations.reads.due import (
    CountByStatus,
    DueHeldEvents,
    DueTriggers,
    OldestWaiting,
    ReadMark,
    SchemaVersion,
)
from narrows.operations.reads.due_runs import (
    CountRuns,
    CountWorkflowRuns,
    DueRuns,
    Executing,
    ExecutingRuns,
    LiveRunsOfJob,
)
from narrows.operations.reads.events import ListHeldEvents, ListUnmatched
from narrows.operations.reads.explain import Explain, Explanation
from narrows.operations.reads.jobs import (
    GetJob,
    JobsById,
    JobsWithQueuedRuns,
    ListJobs,
    PendingMessages,
    QueuedJobs,
)
from narrows.operations.reads.listing import ListTriggers
from narrows.operations.reads.near_keys import NearKeys, NearWaits
from narrows.operations.reads.paging import Page
from narrows.operations.reads.retention import (
    CountSettled,
    OldRows,
    Prunable,
    SettledTriggers,
    WaitGroupsOf,
)
from narrows.operations.reads.runs import GetRun, ListRuns, RunsWithBodies, RunTimeline
from narrows.operations.reads.triggers import (
    GetStats,
    GetTrigger,
    GetTriggerById,
    Timeline,
    WaitingUnderPrefix,
)
from narrows.operations.reads.workflow_runs import (
    DueWorkflowRun,
    DueWorkflowRuns,
    GetWorkflowRun,
    ListWorkflowRuns,
    ShownSteps,
    ShownWorkflowRun,
    ShowWorkflowRuns,
    WorkflowRunSteps,
    WorkflowRunTimeline,
)
from narrows.operations.reads.workflows import (
    GetWorkflow,
    GetWorkflowVersion,
    ListWorkflows,
    MissingNames,
    Names,
)

__all__ = [
    "Checkpoint",
    "CountByStatus",
    "CountRuns",
    "CountSettled",
    "CountWorkflowRuns",
    "DueHeldEvents",
    "DueRuns",
    "DueTriggers",
    "DueWorkflowRun",
    "DueWorkflowRuns",
    "Executing",
    "ExecutingRuns",
    "Explain",
    "Explanation",
    "GetApiKey",
    "GetJob",
    "GetProject",
    "GetRun",
    "GetStats",
    "GetTrigger",
    "GetTriggerById",
    "GetWorkflow",
    "GetWorkflowRun",
    "GetWorkflowVersion",
    "JobsById",
    "JobsWithQueuedRuns",
    "ListApiKeys",
    "ListHeldEvents",
    "ListJobs",
    "ListProjects",
    "ListRuns",
    "ListTriggers",
    "ListUnmatched",
    "ListWorkflowRuns",
    "ListWorkflows",
    "LiveRunsOfJob",
    "LoadBodies",
    "LoadSchema",
    "MissingNames",
    "Names",
    "NearKeys",
    "NearWaits",
    "OldRows",
    "OldestWaiting",
    "Page",
    "PendingMessages",
    "Prunable",
    "QueuedJobs",
    "ReadMark",
    "RunCheckpoint",
    "RunCheckpoints",
    "RunTimeline",
    "RunsWithBodies",
    "SchemaVersion",
    "SettledTriggers",
    "ShowWorkflowRuns",
    "ShownSteps",
    "ShownWorkflowRun",
    "Timeline",
    "WaitGroupsOf",
    "WaitingFor",
    "WaitingUnderPrefix",
    "WorkflowRunSteps",
    "WorkflowRunTimeline",
]
