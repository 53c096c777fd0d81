"""Histories that no right server can have produced, each the trace of a bug that real systems of this kind
have had. The checker must refuse all of them (`notation.py` says how they are written)."""

from __future__ import annotations

from typing import Final

BAD: Final[dict[str, str]] = {
    "an acknowledged send into the wait of a workflow is lost": """
        1 [0 1] start -> 201
        2 [2 3] send 7 -> 200 t1 received 7
        1 [4 5] get -> 200 t1 waiting""",
    "a workflow has started, and its wait is not there": """
        1 [0 1] start -> 201
        2 [2 3] send 7 -> 404""",
    "a workflow waits beside another wait": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] start -> 201
        3 [4 5] get -> 200 t2 waiting""",
    "an acknowledged send is lost": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 200 t1 received 7
        1 [4 5] get -> 200 t1 waiting""",
    "an acknowledged send is lost, and the next one wins": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 200 t1 received 7
        3 [4 5] send 8 -> 200 t1 received 8""",
    "two concurrent sends both win": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 9] send 7 -> 200 t1 received 7
        3 [2 9] send 8 -> 200 t1 received 8""",
    "the payload changes after it was seen": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 9] send 7 -> 200 t1 received 7
        3 [3 4] get -> 200 t1 received 7
        3 [5 6] get -> 200 t1 received 8""",
    "cancel and send both succeed": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 9] send 7 -> 200 t1 received 7
        3 [2 9] cancel -> 200 t1 canceled""",
    "two cancels both succeed": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 9] cancel -> 200 t1 canceled
        3 [2 9] cancel-by-id t1 -> 200 t1 canceled""",
    "a stale read after a send of another client": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 5] send 7 -> 200 t1 received 7
        3 [6 7] get-by-id t1 -> 200 t1 waiting
        3 [8 9] get-by-id t1 -> 200 t1 received 7""",
    "a read goes back in time": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 20] send 7 -> 200 t1 received 7
        3 [3 4] get -> 200 t1 received 7
        4 [5 6] get -> 200 t1 waiting""",
    "a refusal names what is not so yet": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 20] send 7 -> 200 t1 received 7
        3 [3 4] cancel -> 409 received
        4 [5 6] get -> 200 t1 waiting""",
    "404 although it is waiting": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 404
        1 [4 5] get -> 200 t1 waiting""",
    "404 although something has waited": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] cancel -> 200 t1 canceled
        3 [4 5] get -> 404""",
    "a wait that nobody has opened": """
        1 [0 1] get -> 200 t1 waiting""",
    "an event that nobody has sent": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] get -> 200 t1 received 7""",
    "canceled by nobody": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 409 canceled""",
    "a send refused though it is waiting": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 409 received
        1 [4 5] send 8 -> 200 t1 received 8""",
    "two waits open under one key": """
        1 [0 9] open -> 201 t1 waiting
        2 [0 9] open -> 201 t2 waiting""",
    "a join makes a second wait": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] open join -> 201 t2 waiting""",
    "a join of what is settled": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 200 t1 received 7
        3 [4 5] open join -> 200 t1 received 7""",
    "the key cannot be used again": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] cancel -> 200 t1 canceled
        1 [4 5] open -> 409""",
    "one id for two waits": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] cancel -> 200 t1 canceled
        1 [4 5] open -> 201 t1 waiting""",
    "a late retry by id settles the next wait": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] cancel -> 200 t1 canceled
        1 [4 5] open -> 201 t2 waiting
        2 [6 7] send-by-id t1 7 -> 200 t2 received 7""",
    "by key an old wait is shown": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] cancel -> 200 t1 canceled
        1 [4 5] open -> 201 t2 waiting
        2 [6 7] get -> 200 t1 canceled""",
    "an equal resend is refused": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 200 t1 received 7
        2 [4 5] send 7 -> 409 received""",
    "a resend without a payload counts as null": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send null -> 200 t1 received null
        2 [4 5] send -> 200 t1 received null""",
    "a resend settles it anew": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 200 t1 received 7 settled=2.5
        2 [4 5] send 7 -> 200 t1 received 7 settled=4.5""",
    "a send is accepted after the time-out": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [1010 1011] send 7 -> 200 t1 received 7 expires=1000""",
    "a send is accepted after its time-out was seen": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [990 1030] send 7 -> 200 t1 received 7 expires=1000
        3 [1005 1006] get -> 200 t1 timed_out expires=1000
        3 [1007 1008] get -> 200 t1 received 7 expires=1000""",
    "a stale timer wipes an event": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [900 901] send 7 -> 200 t1 received 7 expires=1000
        3 [1010 1011] get -> 200 t1 timed_out expires=1000""",
    "a stale timer hits the next wait of the key": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [2 3] cancel -> 200 t1 canceled expires=1000
        1 [4 5] open timeout_secs=9 -> 201 t2 waiting expires=9004
        3 [1010 1011] get -> 200 t2 timed_out expires=9004""",
    "timed out too early": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [900 901] get -> 200 t1 timed_out expires=1000""",
    "timed out at its old time although extended": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [2 3] extend t1 timeout_secs=60 -> 200 t1 waiting expires=60002
        3 [1010 1011] send 7 -> 409 timed_out""",
    "an extension counts from the opening": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [900 901] extend t1 timeout_secs=60 -> 200 t1 waiting expires=60000""",
    "an extension is forgotten": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [2 3] extend t1 timeout_secs=60 -> 200 t1 waiting expires=60002
        3 [4 5] get -> 200 t1 waiting expires=1000""",
    "an extension brings back what is over": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [1010 1011] extend t1 timeout_secs=60 -> 200 t1 waiting expires=61010""",
    "the lateness of a timer shows to a sender": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [1010 1011] open join -> 200 t1 waiting expires=1000""",
    "a time-out is undone by a read": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [1002 1003] cancel -> 409 timed_out
        3 [1004 1005] get -> 200 t1 waiting expires=1000""",
}
