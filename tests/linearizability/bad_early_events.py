"""The second part of `bad_histories.py`: of events that come early, that reach many waits, or whose outcome
nobody knows."""

from __future__ import annotations

from typing import Final

BAD: Final[dict[str, str]] = {
    "an event is held and lost": """
        1 [0 1] send 7 hold_secs=600 -> 202 h1
        2 [2 3] open -> 201 t1 waiting""",
    "an event is held by one node while another opens the wait": """
        1 [0 9] send 7 hold_secs=600 -> 202 h1
        2 [0 9] open -> 201 t1 waiting
        3 [10 11] get -> 200 t1 waiting
        3 [12 13] send 8 -> 200 t1 received 8
        3 [14 15] open -> 201 t2 waiting""",
    "an event is held although somebody waits": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 hold_secs=600 -> 202 h1
        1 [4 5] get -> 200 t1 waiting""",
    "a held event is delivered twice": """
        1 [0 1] send 7 hold_secs=600 -> 202 h1
        2 [2 3] open -> 201 t1 received 7
        2 [4 5] open -> 201 t2 received 7""",
    "the last held comes first": """
        1 [0 1] send 7 hold_secs=600 -> 202 h1
        1 [2 3] send 8 hold_secs=600 -> 202 h2
        2 [4 5] open -> 201 t1 received 8""",
    "a held event is delivered after its time": """
        1 [0 1] send 7 hold_secs=1 -> 202 h1
        2 [1010 1011] open -> 201 t1 received 7""",
    "a held event is dropped before its time": """
        1 [0 1] send 7 hold_secs=1 -> 202 h1
        2 [900 901] open -> 201 t1 waiting""",
    "an event_id counts twice": """
        1 [0 1] send 7 hold_secs=600 event_id=x -> 202 h1
        1 [2 3] send 7 hold_secs=600 event_id=x -> 202 h2""",
    "an event_id counts again once it was delivered": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 event_id=x -> 200 t1 received 7
        1 [4 5] open -> 201 t2 waiting
        2 [6 7] send 7 event_id=x -> 200 t2 received 7""",
    "a repeat with an event_id is answered by the next wait": """
        1 [0 1] send 7 hold_secs=600 event_id=x -> 202 h1
        2 [2 3] open -> 201 t1 received 7
        2 [4 5] open -> 201 t2 waiting
        1 [6 7] send 7 hold_secs=600 event_id=x -> 200 t2 received 7""",
    "a prefix send counts what another has settled": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 200 t1 received 7
        3 [4 5] prefix 8 -> 200 t1 received 7""",
    "a prefix send and a send both win": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 9] send 7 -> 200 t1 received 7
        3 [2 9] prefix 7 -> 200 t1 received 7
        4 [10 11] send 8 -> 200 t1 received 8""",
    "two prefix sends count one wait": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 9] prefix 7 -> 200 t1 received 7
        3 [2 9] prefix 7 -> 200 t1 received 7""",
    "a prefix send skips what waits": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] prefix 7 -> 200
        1 [4 5] get -> 200 t1 waiting""",
    "a prefix send reports what was rolled back": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] prefix 7 -> 200 t1 received 7
        1 [4 5] cancel -> 200 t1 canceled""",
    "an unknown send takes effect twice": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 -] send 7 -> unknown
        1 [3 4] get -> 200 t1 received 7
        1 [5 6] open -> 201 t2 waiting
        1 [7 8] get -> 200 t2 received 7""",
    "an unknown send is undone": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 -] send 7 -> unknown
        1 [3 4] get -> 200 t1 received 7
        3 [5 6] get -> 200 t1 waiting""",
    "an unknown open opens twice": """
        1 [0 -] open -> unknown
        2 [1 2] get -> 200 t1 waiting
        2 [3 4] cancel -> 200 t1 canceled
        2 [5 6] get -> 200 t2 waiting""",
    "an unknown cancel works before it was asked": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] get -> 200 t1 canceled
        3 [4 -] cancel -> unknown""",
    "what was refused with 503 was done": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 503
        1 [4 5] get -> 200 t1 received 7""",
    "real time is violated across clients": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 3] send 7 -> 409 canceled
        3 [4 5] cancel -> 200 t1 canceled""",
    "each client's view alone is right, together they are not": """
        1 [0 1] open -> 201 t1 waiting
        2 [2 20] send 7 -> 200 t1 received 7
        3 [3 4] get -> 200 t1 received 7
        4 [5 6] extend t1 timeout_secs=60 -> 200 t1 waiting expires=60005
        4 [21 22] get -> 200 t1 received 7""",
    "two clients see two orders": """
        1 [0 9] open -> 201 t1 waiting
        2 [10 30] cancel -> 200 t1 canceled
        3 [10 30] open -> 201 t2 waiting
        4 [11 12] get -> 200 t2 waiting
        5 [13 14] get -> 200 t1 canceled""",
}
