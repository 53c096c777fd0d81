"""One workflow run while it is advanced: its row, its definition, the rows and outputs of its steps, and the chain
of facts that is its timeline. The turn (`turns.py`) goes through it in phases; a phase yields what it needs
loaded and is written as if it were there."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final, NamedTuple

from narrows.core.graphs import members
from narrows.core.json_texts import NULL, Document, compact
from narrows.core.payloads import INLINE_PAYLOAD_BYTES
from narrows.core.records import Payload
from narrows.core.run_records import Message
from narrows.core.states import STEP_LETTERS, FactKind, MessageKind, StepStatus
from narrows.core.step_states import statuses
from narrows.core.templates import Scope
from narrows.core.workflow_definitions import Definition, expression_steps
from narrows.core.workflow_records import Step, WorkflowRun
from narrows.core.workflow_steps import StepDefinition
from narrows.errors import LimitReached
from narrows.operations.questions import ConditionQuestion
from narrows.storage.lookups import Touch
from narrows.storage.noted import Noted, RunKey
from narrows.storage.operation import Undecided
from narrows.storage.transaction import Transaction

Loading = Generator[list[Touch], None, None]


class Value(NamedTuple):
    """A JSON text, None if there is none; with a `payload_id` it stands in that payload row, and `text` may be
    missing while nobody has loaded it."""

    text: str | None
    payload_id: str | None = None

    @property
    def is_away(self) -> bool:
        return self.text is None and self.payload_id is not None


NOTHING = Value(None)

#: So much of what stands in payload rows is looked at for what starts in one commit, or for one output; loaded by so
#: many rows a time. A thousand steps may have put out a thousand large ones.
MAX_SEEN_BYTES: Final = 32 << 20
ROWS_AT_ONCE: Final = 32
TOO_MUCH_SEEN: Final = "what is looked at for it, and for what else follows at once, is over 32 MiB"
#: So much a condition or a veto is given to look at: the payload, and the outputs that it names (all, where it works
#: their names out).
MAX_ASKED_BYTES: Final = 8 << 20
TOO_MUCH_ASKED: Final = (
    "it looks at over 8 MiB of payload and outputs; let it name fewer steps, or make outputs smaller by "
    "output_transform"
)


class Budget:
    """What may still be loaded of what can come to any size, however often something more is asked for."""

    def __init__(self) -> None:
        self.spent = 0

    @property
    def is_spent(self) -> bool:
        return self.spent > MAX_SEEN_BYTES


class Root:
    """`outputs` are those of steps that complete in this turn, `emits` the event keys that these send to."""

    def __init__(
        self, tx: Transaction, run: WorkflowRun, definition: Definition, noted: Sequence[Noted]
    ) -> None:
        self.tx = tx
        self.run = run
        self.definition = definition
        self.actor = noted[0].actor
        self.entropy = noted[0].entropy
        self.hops = max(run.hops, *(each.hops for each in noted))
        #: The end of its timeline so far; the row gets it when all is recorded.
        self.last_fact_id = run.last_fact_id
        self.outputs: dict[int, Value] = {}
        self.emits: dict[int, str] = {}
        #: For all questions of this turn together.
        self.asking = Budget()
        self._documents: dict[str, Document] = {}
        self._left_out: set[str] = set()

    @property
    def key(self) -> RunKey:
        return self.run.project_id, self.run.id

    # ---- its steps -------------------------------------------------------------------------

    def step(self, number: int) -> StepDefinition:
        return self.definition.steps[number]

    def step_id(self, number: int) -> str:
        return f"{self.run.id}:{self.step(number).ref}"

    def row(self, number: int) -> Step | None:
        return self.tx.step(*self.key, number)

    def row_touches(self, numbers: Iterable[int]) -> list[Touch]:
        if not self.tx.is_stored(self.run):
            return []  # whatever a run has that this batch makes is at hand
        return [("steps_by_number", *self.key, str(number)) for number in sorted(numbers)]

    # ---- what may be read ------------------------------------------------------------------

    def load_outputs(self, numbers: Iterable[int], *, payload: bool, budget: Budget | None = None) -> Loading:
        """What the workflow run was triggered with, and the outputs of these steps, as `load_bounded`."""
        numbers = sorted(numbers)
        yield self.row_touches(numbers)
        if payload:
            yield from self.load_texts([Value(self.run.payload, self.run.payload_id)])
        values = [self._value(number) for number in numbers]
        yield from self.load_bounded(values, budget)

    def load_bounded(self, values: Iterable[Value], budget: Budget | None = None) -> Loading:
        """The texts that stand in payload rows of their own, which may come to any size: what is left out cannot be
        looked at (`text`). With a `budget` that others have loaded from, too."""
        budget = budget or Budget()
        away = list(dict.fromkeys(value.payload_id or "" for value in values if value.is_away))
        away = [each for each in away if self.tx.payload(self.run.project_id, each) is None]
        for start in range(0, len(away), ROWS_AT_ONCE):
            if budget.is_spent:
                self._left_out.update(away[start:])
                return
            some = away[start : start + ROWS_AT_ONCE]
            yield [("payloads_by_id", self.run.project_id, payload_id) for payload_id in some]
            rows = (self.tx.payload(self.run.project_id, payload_id) for payload_id in some)
            budget.spent += sum(len(row.body) for row in rows if row is not None)

    def load_texts(self, values: Iterable[Value]) -> Loading:
        """Such texts of which there are few."""
        away = [value.payload_id for value in values if value.is_away]
        if away:
            yield [("payloads_by_id", self.run.project_id, payload_id or "") for payload_id in away]

    def text(self, value: Value) -> str | None:
        """The text itself; it must have been loaded. Raises LimitReached where it was left out."""
        if not value.is_away:
            return value.text
        row: Payload | None = self.tx.payload(self.run.project_id, value.payload_id or "")
        if row is None and value.payload_id in self._left_out:
            raise LimitReached(TOO_MUCH_SEEN)
        return None if row is None else row.body

    def payload(self) -> str | None:
        return self.text(Value(self.run.payload, self.run.payload_id))

    def output(self, number: int) -> str | None:
        return self.text(self._value(number))

    def keep_outputs(self, letters: str) -> None:
        """Those of steps that have completed: of what somebody skipped in the same commit, or what gave nothing
        that could be used, later steps see none, now as ever after."""
        completed = STEP_LETTERS[StepStatus.COMPLETED]
        self.outputs = {
            number: value for number, value in self.outputs.items() if letters[number] == completed
        }

    def _value(self, number: int) -> Value:
        if number in self.outputs:
            return self.outputs[number]
        row = self.row(number)
        return NOTHING if row is None else Value(row.output, row.output_id)

    def scope(self, number: int, seen: Iterable[int]) -> Scope:
        """What the placeholders of a step may name: the payload and the outputs of the steps that it sees."""
        payload = self.payload()
        outputs = {self.step(each).ref: self._document(self.output(each)) for each in seen}
        document = None if payload is None else self._document(payload)
        return Scope(document, outputs, self.run.id, self.step(number).ref)

    def _document(self, text: str | None) -> Document:
        """Kept: many steps of one turn look into the same texts."""
        text = NULL if text is None else text
        if text not in self._documents:
            self._documents[text] = Document(text)
        return self._documents[text]

    # ---- questions -------------------------------------------------------------------------

    def seen_by(self, number: int, named: frozenset[str] | None) -> list[int]:
        """The steps whose outputs an expression of a step may look at."""
        return list(members(expression_steps(self.definition, number, named)))

    def question(
        self, expression: str, payload: str | None, seen: Iterable[int], letters: str
    ) -> ConditionQuestion:
        """An expression with what it looks at; the outputs must have been loaded. Raises LimitReached where that is
        too much."""
        states = statuses(letters)
        refs = [(number, self.step(number).ref) for number in seen]
        outputs = tuple((ref, self.output(number)) for number, ref in refs)
        if len(payload or "") + sum(len(output or "") for _, output in outputs) > MAX_ASKED_BYTES:
            raise LimitReached(TOO_MUCH_ASKED)
        return ConditionQuestion(
            expression, payload, outputs, tuple((ref, str(states[number])) for number, ref in refs)
        )

    def ask(self, questions: Iterable[Any]) -> None:
        """Raises Undecided with those that nobody has answered yet."""
        missing = [question for question in questions if question not in self.tx.notes.answers]
        if missing:
            raise Undecided(list(dict.fromkeys(missing)))

    def answer(self, question: Any) -> Any:
        return self.tx.notes.answers[question]

    # ---- what is written -------------------------------------------------------------------

    def record(self, kind: FactKind, subject_id: str, detail: dict[str, Any] | None = None) -> str:
        """The next fact of its timeline."""
        fact_id = self.tx.record_fact(
            kind,
            self.run.project_id,
            subject_id,
            self.actor,
            self.entropy,
            root_id=self.run.id,
            previous_id=self.last_fact_id,
            version=self.run.version,
            detail=None if detail is None else compact(detail),
        )
        self.last_fact_id = fact_id
        return fact_id

    def note(self, number: int, kind: FactKind, error: str | None, *, final: bool = False) -> None:
        """Something that follows for a step at once: the next round of the turn takes it in."""
        noted = Noted(
            kind,
            self.step(number).ref,
            error=error,
            final=final,
            hops=self.hops,
            actor=self.actor,
            entropy=self.entropy,
        )
        self.tx.notes.add(self.key, noted)

    def keep(self, value: Value) -> Value:
        """The value for one holder more, in a row of its own where it is large."""
        if value.payload_id is not None:
            self.tx.share_payload(self.run.project_id, value.payload_id)
        elif value.text is not None and len(value.text) > INLINE_PAYLOAD_BYTES:
            return Value(value.text, self.tx.save_payload(self.run.project_id, value.text, self.entropy))
        return value

    def send(
        self,
        kind: MessageKind,
        subject_id: str,
        body: dict[str, Any],
        value: Value = NOTHING,
        *,
        message_id: str | None = None,
        hops: int = 0,
    ) -> None:
        """A durable message to another root, consumed by a commit of its own."""
        kept = self.keep(value)
        self.tx.save(
            Message(
                self.run.project_id,
                message_id or self.tx.new_id(self.entropy),
                kind,
                subject_id,
                None,
                hops or self.hops,
                self.tx.now,
                compact(body),
                kept.text,
                kept.payload_id,
            )
        )
