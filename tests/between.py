"""A proxy between a job and the S3 server, which kills the job right before or right after a request that changes.

What changes a bucket is sent by three libraries, two of which are not Python: so it is counted on its way.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

_CHANGES = ("PUT", "POST", "DELETE")
_OF_A_CONNECTION = {"connection", "transfer-encoding", "content-length", "keep-alive", "server", "date"}


class Moment(NamedTuple):
    """The request, of those that change something, by its number or how it ends, and on which side the job dies."""

    request: int | str
    side: Literal["before", "after"]


class Between(ThreadingHTTPServer):
    """`requests`: what was sent that changes something, as METHOD /PATH, in the order in which it came."""

    daemon_threads = True

    def __init__(self, server: str, moment: Moment | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = urlsplit(server).netloc
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.victim: subprocess.Popen[bytes] | None = None
        self.requests: list[str] = []
        self._moment, self._counting = moment, threading.Lock()

    def came(self, request: str) -> bool:
        """Whether this is the request at which the job is to die."""
        with self._counting:
            self.requests.append(request)
            if self._moment is None:
                return False
            at = self._moment.request
            return request.endswith(at) if isinstance(at, str) else at == len(self.requests) - 1

    def dies(self, side: Literal["before", "after"]) -> bool:
        """Whether the job has died on this side of its request."""
        if self._moment is None or self._moment.side != side or self.victim is None:
            return False
        os.killpg(self.victim.pid, signal.SIGKILL)
        return True

    def handle_error(self, *_: object) -> None:
        """Connections of a killed job break; that is no matter."""


@contextmanager
def between(server: str, moment: Moment | None = None) -> Iterator[Between]:
    """Inside, the proxy before the server of this URL listens; what it has counted stays."""
    proxy = Between(server, moment)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Between

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.server.host, timeout=120)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        changes = self.command in _CHANGES
        at = changes and self.server.came(f"{self.command} {self.path.partition('?')[0]}")
        if at and self.server.dies("before"):
            self.close_connection = True
            return
        self._upstream.request(self.command, self.path, body, dict(self.headers))
        answer = self._upstream.getresponse()
        content = answer.read()
        if at and self.server.dies("after"):
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""
