"""How a wait is settled, as the contract has it, and what follows for the run that waits: the plain rules
that every operation of the model shares."""

from __future__ import annotations

from tests.simulation.run_values import Group, ModelRun
from tests.simulation.values import Wait


class Settling:
    """The clock of the model's present step, and what happens to waits in it."""

    def __init__(self) -> None:
        self.now = 0
        self.wall = 0

    def has_room(self, project_id: str, more: int) -> bool:
        """Whether the project may open so many more waits. No client of the simulation comes to the limit."""
        return True

    def in_time(self, wait: Wait) -> Wait:
        """The wait, settled first if its time has passed. Whoever looks at one wait of a group looks at
        all of it, and their times come in their order."""
        if wait.status == "waiting":
            waits = [wait] if wait.group is None else wait.group.waits
            for each in sorted(waits, key=lambda each: (each.expires_at, each.id)):
                if each.status == "waiting" and each.expires_at <= self.wall:
                    self.time_out(each)
        return wait

    def time_out(self, wait: Wait) -> None:
        wait.settled_at = max(self.now, wait.expires_at)
        wait.version += 1
        wait.status = "timed_out"
        if wait.is_sleep:
            wait.status, wait.sent_by = "received", "engine"
        self._follow(wait)

    def receive(self, wait: Wait, payload: str | None, sent_by: str | None) -> None:
        wait.status = "received"
        wait.version += 1
        wait.payload = payload
        wait.settled_at = self.now
        wait.sent_by = sent_by
        self._follow(wait)

    def cancel_wait(self, wait: Wait) -> None:
        wait.status, wait.settled_at = "canceled", self.now
        wait.version += 1
        self._follow(wait)

    # ---- runs ----

    def move(self, run: ModelRun, status: str) -> None:
        run.status = status
        run.version += 1
        run.due_at = run.holder = run.pause = None
        if run.has_ended:
            run.finished_at = self.now
        if status == "queued":
            run.queued_at = self.now

    def _follow(self, wait: Wait) -> None:
        """The run goes on or ends with the wait that decides its group; the others are of no use then."""
        group = wait.group
        if not isinstance(group, Group) or group.run.status != "waiting" or group.run.group is not group:
            return
        received = sum(each.status == "received" for each in group.waits)
        left = [each for each in group.waits if each.status == "waiting"]
        if received >= group.needed:
            self._resume(group)
        elif received + len(left) >= group.needed:
            return
        elif (group.on_timeout if wait.status == "timed_out" else group.on_cancel) == "resume":
            self._resume(group)
        else:
            self.move(group.run, "timed_out" if wait.status == "timed_out" else "canceled")
        group.ended_by = wait
        for each in left:
            self.cancel_wait(each)

    def _resume(self, group: Group) -> None:
        self.move(group.run, "queued")
        group.run.attempt = 1
