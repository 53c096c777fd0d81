"""A real server and a real HTTP handler: dispatched, it waits by the run plane, is called again with the
event, and completes; also when the server is killed meanwhile, and when it is stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from narrows.wire import signatures
from tests.cli.conftest import Shell, free_port


class Handler(BaseHTTPRequestHandler):
    """An endpoint in a few lines: waits for one event, then answers with its payload."""

    protocol_version = "HTTP/1.1"
    url = ""
    secret = ""
    slow = threading.Event()
    seen: list[dict[str, str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        signatures.verify(self.secret, headers, body, now_secs=int(time.time()))
        self.seen.append(headers)
        plane, token = f"{self.url}/sdk/v1/runs/{headers['x-run-id']}", headers["x-run-token"]
        answer: Any = {"waiting": True}
        if json.loads(body) == "hang":
            self.slow.wait(30)
        elif "x-resume-trigger" in headers:
            answer = ask("GET", f"{plane}/checkpoint", token=token)["event"]["response_payload"]
        else:
            ask("POST", f"{plane}/wait-for-event", {"event_key": "approval"}, token)
        text = json.dumps(answer).encode()
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        return


def ask(method: str, url: str, body: Any = None, token: str | None = None) -> Any:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


@contextlib.contextmanager
def listening(url: str) -> Iterator[tuple[str, type[Handler]]]:
    class Made(Handler):
        pass

    Made.url, Made.seen, Made.slow = url, [], threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Made)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/work", Made
    finally:
        Made.slow.set()
        server.shutdown()
        server.server_close()


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    variables = {"NARROWS_SHUTDOWN_SECS": "1", "NARROWS_LOG_LEVEL": "warning"}
    process = Shell(folder, variables).start("dev", "--port", str(port))
    until(lambda: ask("GET", f"http://127.0.0.1:{port}/readyz"))
    return process


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if found := condition():
                return found
    raise AssertionError("it never comes to that")


def end(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)
    process.communicate(timeout=20)


def test_a_handler_waits_and_goes_on_over_a_kill_of_the_server(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with listening(url) as (endpoint, handler):
        process = start(tmp_path, port)
        try:
            job = ask("POST", f"{url}/v1/jobs", {"slug": "x", "endpoint_url": endpoint})
            handler.secret = job["signing_secret"]
            run = ask("POST", f"{url}/v1/jobs/x/trigger", {"payload": {"order": 7}})
            address = f"{url}/v1/runs/{run['id']}"
            until(lambda: ask("GET", address)["status"] == "waiting")
            end(process, signal.SIGKILL)
            process = start(tmp_path, port)
            ask("POST", f"{url}/v1/events/approval/send", {"payload": {"yes": True}})
            until(lambda: ask("GET", address)["status"] == "completed")
            assert ask("GET", address)["result"] == {"yes": True}
            assert [each["webhook-id"] for each in handler.seen] == [f"{run['id']}.1", f"{run['id']}.2"]
        finally:
            end(process, signal.SIGTERM)


def test_a_stop_gives_back_what_does_not_end_and_a_start_calls_it_again(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with listening(url) as (endpoint, handler):
        process = start(tmp_path, port)
        try:
            job = ask("POST", f"{url}/v1/jobs", {"slug": "x", "endpoint_url": endpoint})
            handler.secret = job["signing_secret"]
            ask("POST", f"{url}/v1/jobs/x/trigger", {"payload": "hang"})
            until(lambda: handler.seen)
            end(process, signal.SIGTERM)
            process = start(tmp_path, port)
            until(lambda: len(handler.seen) == 2)
            assert [each["x-attempt"] for each in handler.seen] == ["1", "1"]
        finally:
            end(process, signal.SIGKILL)
