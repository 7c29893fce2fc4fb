"""A real server that speaks S3, on this machine, and the environment by which all our libraries find it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from tests.ports import free_port


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A server that holds its buckets in memory; gives the environment variables that name it."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            assert server.poll() is None, "the S3 server ended"
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < end, "the S3 server does not answer"
                time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "of-tests",
            "AWS_SECRET_ACCESS_KEY": "of-tests-too",
        }
    finally:
        server.kill()
        server.wait()


def new_bucket() -> str:
    """A bucket of the server that the environment names, as s3://NAME."""
    name = f"bucket-{uuid4().hex[:10]}"
    made = urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/{name}", method="PUT")
    urllib.request.urlopen(made, timeout=10).close()
    return f"s3://{name}"
