"""What the turn of a workflow run asks to have worked out beside the writer. A question carries all that it is
about, so that its answer holds whatever has changed meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from narrows.core.workflow_records import WorkflowVersion
from narrows.storage.lookups import Touch
from narrows.storage.operation import Operation
from narrows.storage.transaction import Transaction

Pairs = tuple[tuple[str, Any], ...]


class ConditionQuestion(NamedTuple):
    """Does this hold? Answered by `Conditions.answer`: true, false, or a sentence that says why that cannot be
    told. Payload and outputs are JSON texts; outputs and statuses stand beside the names of their steps."""

    expression: str
    payload: str | None
    outputs: Pairs
    statuses: Pairs


class TransformQuestion(NamedTuple):
    """What does the path find in this output? Answered by `JsonPaths.transform`."""

    path: str
    output: str | None


class DefinitionQuestion(NamedTuple):
    """What does this definition say? Answered by `Service.definition`."""

    version: WorkflowVersion


TurnQuestion = ConditionQuestion | TransformQuestion | DefinitionQuestion


def sharing(question: Any, texts: dict[str, str]) -> Any:
    """The question with its texts as they stand in `texts`: each round reads them anew, and of a thousand questions
    about the same outputs each would keep copies of its own."""

    def one(text: str | None) -> str | None:
        return None if text is None else texts.setdefault(text, text)

    if isinstance(question, ConditionQuestion):
        outputs = tuple((ref, one(output)) for ref, output in question.outputs)
        return question._replace(payload=one(question.payload), outputs=outputs)
    return (
        question._replace(output=one(question.output))
        if isinstance(question, TransformQuestion)
        else question
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """An operation that comes back with answers for the turn that follows it."""

    operation: Any
    answers: dict[Any, Any]

    @property
    def background(self) -> bool:
        is_background: bool = self.operation.background
        return is_background

    @property
    def size_bytes(self) -> int:
        size: int = self.operation.size_bytes
        return size

    def touches(self) -> list[Touch]:
        inner: Operation = self.operation
        return [*inner.touches()]

    def answered(self, answers: dict[Any, Any]) -> Answered:
        """With answers that the operation itself asked for."""
        return Answered(self.operation.answered(answers), self.answers)

    def apply(self, tx: Transaction) -> Any:
        tx.notes.answers.update(self.answers)
        return self.operation.apply(tx)
