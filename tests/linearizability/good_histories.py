"""Histories that look wrong and are not: the checker must accept them, or its refusals mean nothing."""

from __future__ import annotations

from typing import Final

GOOD: Final[dict[str, str]] = {
    "a workflow waits, or has failed since something waits": """
        1 [0 1] start timeout_secs=1 -> 201
        2 [2 3] start -> 201
        3 [4 5] send 7 -> 200 t1 received 7 expires=1001
        1 [6 7] start -> 201
        3 [8 9] send 8 -> 200 t2 received 8""",
    "two concurrent sends with one payload": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 9] send 7 -> 200 t1 received 7 settled=5
        3 [2 9] send 7 -> 200 t1 received 7 settled=5""",
    "a read overtakes the send that it shows": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 20] send 7 -> 200 t1 received 7
        3 [3 4] get -> 200 t1 waiting
        4 [5 6] get -> 200 t1 received 7
        4 [7 8] cancel -> 409 received""",
    "answers come in another order than the calls": """
        1 [0 30] open -> 201 t1 waiting
        2 [1 20] cancel -> 200 t1 canceled
        3 [2 10] open -> 201 t2 waiting
        4 [3 5] send 7 -> 404""",
    "a wait that only an unknown open can have made": """
        1 [0 -] open timeout_secs=1 -> unknown
        2 [5 6] get -> 404
        2 [7 8] send 7 -> 200 t1 received 7 expires=1007""",
    "an unknown send that comes into effect much later": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 -] send 7 -> unknown
        1 [3 4] cancel -> 200 t1 canceled
        1 [5 6] open -> 201 t2 waiting
        1 [7 8] get -> 200 t2 waiting
        1 [9 10] get -> 200 t2 received 7""",
    "an unknown send that never was": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 -] send 7 -> unknown
        1 [3 4] send 8 -> 200 t1 received 8
        1 [5 6] open -> 201 t2 waiting
        1 [7 8] get -> 200 t2 waiting""",
    "an unknown prefix send, an unknown cancel: the one or the other": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 -] prefix 7 -> unknown
        3 [2 -] cancel -> unknown
        1 [3 4] get -> 200 t1 waiting
        1 [5 6] send 8 -> 409 canceled""",
    "what was refused with 503 was not done": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] cancel -> 503
        2 [4 5] cancel -> 200 t1 canceled""",
    "a read finds a wait whose timer is late": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [1005 1006] get -> 200 t1 waiting expires=1000
        3 [1007 1008] get -> 200 t1 timed_out expires=1000 settled=1007""",
    "a send that was asked in time is answered late": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [990 1030] send 7 -> 200 t1 received 7 expires=1000
        3 [1005 1006] get -> 200 t1 waiting expires=1000""",
    "a prefix send passes by what is overdue": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [1002 1003] prefix 7 -> 200
        3 [1004 1005] get -> 200 t1 waiting expires=1000""",
    "the key is free again at the very time": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [998 1003] open timeout_secs=1 -> 201 t2 waiting expires=2001
        3 [1004 1005] send-by-id t1 7 -> 409 timed_out""",
    "extended in time, so that it goes on": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [999 1002] extend t1 timeout_secs=1 -> 200 t1 waiting expires=2000
        3 [1500 1501] send 7 -> 200 t1 received 7 expires=2000""",
    "an unknown extension is seen later": """
        1 [0 1] open timeout_secs=1 -> 201 t1 waiting expires=1000
        2 [2 -] extend t1 timeout_secs=60 -> unknown
        3 [1500 1501] send 7 -> 200 t1 received 7 expires=60900""",
    "held events come in turn, one for each wait": """
        1 [0 1] send 7 hold_secs=600 -> 202 h1
        1 [2 3] send 7 hold_secs=600 -> 202 h2
        2 [4 5] open -> 201 t1 received 7
        2 [6 7] open join -> 201 t2 received 7
        2 [8 9] open -> 201 t3 waiting""",
    "held although the last wait received the very payload": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 hold_secs=600 -> 200 t1 received 7
        2 [4 5] send 7 hold_secs=600 -> 202 h1
        1 [6 7] open -> 201 t2 received 7""",
    "a held event whose time is over is not delivered, the next is": """
        1 [0 1] send 7 hold_secs=1 -> 202 h1
        1 [2 3] send 8 hold_secs=600 -> 202 h2
        2 [1010 1011] open -> 201 t1 received 8""",
    "one event_id, held, delivered, repeated": """
        1 [0 1] send 7 hold_secs=600 event_id=x -> 202 h1 until=600000
        1 [2 3] send 8 hold_secs=600 event_id=x -> 202 h1 until=600000
        2 [4 5] open -> 201 t1 received 7
        2 [6 7] open -> 201 t2 waiting
        1 [8 9] send 7 event_id=x -> 200 t1 received 7
        1 [10 11] send 8 event_id=y -> 200 t2 received 8""",
    "an unknown hold shows itself by its event": """
        1 [0 -] send 7 hold_secs=600 event_id=x -> unknown
        2 [1 2] open -> 201 t1 received 7
        1 [3 4] send 7 hold_secs=600 event_id=x -> 200 t1 received 7""",
    "a wait that nobody has seen shows itself by its event_id": """
        1 [0 -] open -> unknown
        2 [0 -] cancel -> unknown
        1 [1 -] open -> unknown
        2 [1 -] send 7 event_id=x -> unknown
        3 [2 3] open -> 201 t3 waiting
        2 [4 5] send 7 event_id=x -> 200 t2 received 7
        3 [6 7] get-by-id t2 -> 200 t2 received 7
        3 [8 9] cancel -> 200 t3 canceled""",
    "a refused event_id may come again": """
        1 [0 1] send 7 event_id=x -> 404
        2 [2 3] open -> 201 t1 waiting
        1 [4 5] send 7 event_id=x -> 200 t1 received 7""",
    "a prefix send finds nothing between two waits": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 30] prefix 7 -> 200
        1 [3 4] cancel -> 200 t1 canceled
        1 [5 6] open -> 201 t2 waiting
        1 [31 32] get -> 200 t2 waiting""",
}
