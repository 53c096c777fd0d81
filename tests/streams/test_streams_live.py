"""Streams of a real server: a crowd with frozen readers, coming back, and stops in the middle."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.streams.crowd import crowd, reading
from tests.streams.live import Live
from tests.streams.readers import Reader, frozen


@pytest.mark.slow
async def test_frozen_readers_are_cut_and_others_get_every_change(tmp_path: Path) -> None:
    report = await crowd(tmp_path, streams=500, frozen_count=100)
    assert report.faults == []
    assert report.cut == report.frozen


async def test_who_comes_back_gets_what_is_newer_and_204_at_the_end(tmp_path: Path) -> None:
    with Live(tmp_path) as live:
        made = live.ask("POST", "/v1/events", {"event_key": "k"}).json()
        for _ in range(3):
            live.ask("POST", f"/v1/triggers/{made['id']}/extend", {"timeout_secs": 600})
        again = Reader(live.port, "/v1/events/k/stream", Last_Event_ID=f"{made['id']}.2")
        caught_up = Reader(live.port, "/v1/events/k/stream", Last_Event_ID=f"{made['id']}.4")
        async with reading([again, caught_up]) as tasks:
            assert (again.versions, caught_up.versions, len(caught_up.comments)) == ([4], [], 1)
            await asyncio.to_thread(live.ask, "POST", "/v1/events/k/send", {"payload": 1})
            await asyncio.gather(*tasks)
        assert (again.versions, caught_up.versions) == ([4, 5], [5])
        # The wait that was found first stays the one that is meant, also if the key waits again.
        live.ask("POST", "/v1/events", {"event_key": "k"})
        over = await Reader(live.port, "/v1/events/k/stream", Last_Event_ID=f"{made['id']}.5").run()
        assert over.status == 204


async def test_sigterm_tells_streams_and_answers_long_polls_and_sends(tmp_path: Path) -> None:
    with Live(tmp_path, shutdown_secs="5") as live:
        ids = [live.ask("POST", "/v1/events", {"event_key": f"k{n}"}).json()["id"] for n in range(20)]
        fat = live.ask("POST", "/v1/events", {"event_key": "fat", "request_payload": "x" * 900_000}).json()
        readers = [Reader(live.port, f"/v1/events/k{n}/stream") for n in range(20)]
        with frozen(live.port, "/v1/events/fat/stream", 5):
            for _ in range(12):
                live.ask("POST", f"/v1/triggers/{fat['id']}/extend", {"timeout_secs": 600})
            async with reading(readers) as tasks:
                poll = asyncio.create_task(
                    asyncio.to_thread(live.ask, "GET", f"/v1/triggers/{ids[0]}/wait?timeout_secs=60")
                )
                body = json.dumps({"payload": "x" * 500_000}).encode()
                slow = live.connect()
                slow.sendall(
                    b"POST /v1/events/k1/send HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
                    % len(body)
                )
                slow.sendall(body[:1000])
                await asyncio.sleep(
                    0.5
                )  # the poll and the first part of the body are on the server's side by then
                assert live.process is not None
                live.process.send_signal(signal.SIGTERM)
                # The rest of the body comes when the server is stopping already.
                await asyncio.wait(tasks)
                slow.sendall(body[1000:])
                sent = await asyncio.to_thread(slow.recv, 1000)
                slow.close()
                assert (await poll).json()["status"] == "waiting"
                code = await asyncio.to_thread(live.process.wait, 30)
        assert code == 0
        assert all(each.comments[-1].startswith(": the server is stopping") for each in readers)
        assert all(each.ended_well for each in readers)
        assert sent.startswith(b"HTTP/1.1 200")
        live.start()
        assert live.ask("GET", "/v1/events/k1").json()["response_payload"] == "x" * 500_000


def test_a_second_signal_stops_at_once_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with Live(tmp_path, shutdown_secs="60") as live:
        acknowledged: list[Any] = []
        made = [live.ask("POST", "/v1/events", {"event_key": f"k{n}"}).json()["id"] for n in range(150)]
        enough = threading.Event()

        def send() -> None:
            for number, trigger_id in enumerate(made):
                try:
                    answer = live.ask("POST", f"/v1/triggers/{trigger_id}/send", {"payload": number})
                except Exception:
                    return
                if answer.status_code == 200:
                    acknowledged.append((trigger_id, number))
                if number == 50:
                    enough.set()

        # Somebody who does not read keeps the first signal from being enough.
        large = live.ask("POST", "/v1/events", {"event_key": "fat", "request_payload": "x" * 900_000}).json()
        with frozen(live.port, "/v1/events/fat/stream", 1):
            for _ in range(12):
                live.ask("POST", f"/v1/triggers/{large['id']}/extend", {"timeout_secs": 600})
            sender = threading.Thread(target=send)
            sender.start()
            assert enough.wait(30)
            assert live.process is not None
            live.process.send_signal(signal.SIGTERM)
            while "stopping" not in live.log.read_text():
                assert live.process.poll() is None
            live.process.send_signal(signal.SIGTERM)
            assert live.process.wait(20) == 128 + signal.SIGTERM
            sender.join(20)
        assert "violation" not in live.command("verify", "--data", str(live.data)).replace("no violation", "")
        live.start()
        for trigger_id, number in acknowledged:
            found = live.ask("GET", f"/v1/triggers/{trigger_id}").json()
            assert (found["status"], found["response_payload"]) == ("received", number)
        assert len(acknowledged) > 50
