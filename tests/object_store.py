"""An S3-compatible server on this machine, in a process of its own, which may drop requests; run by tests and by the benchmarks.

    python object_store.py DROP_EVERY       0: none; 10: every tenth request on average, before or after it was obeyed

Prints its port, and at its end, on SIGTERM, how many requests came and how many were dropped.
"""

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import s3fs

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def object_store(drop_every: int = 0) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Yields the environment in which s3:// leads to a new, empty server with a bucket `bucket`, and its counts, set at the end."""
    command = [sys.executable, __file__, str(drop_every)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    counts: dict[str, int] = {}
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        s3fs.S3FileSystem.clear_instance_cache()  # those of another server's address
        yield KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}, counts
        server.terminate()
        counts |= json.loads(server.stdout.read())
    finally:
        server.kill()
        server.wait()


class Dropping:
    """WSGI: passes requests on and closes some connections instead of answering, half of them after the request was obeyed."""

    def __init__(self, app: Callable[..., Iterable[bytes]], drop_every: int) -> None:
        self.app, self.drop_every, self.rng = app, drop_every, random.Random(0)
        self.requests = self.dropped = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.requests += 1
        if self.drop_every and self.rng.randrange(self.drop_every) == 0:
            self.dropped += 1
            if self.rng.random() < 0.5:
                list(self.app(environ, lambda *_: lambda _: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError("dropped")
        return self.app(environ, start_response)


def serve(drop_every: int) -> None:
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = Dropping(DomainDispatcherApplication(create_backend_app), 0)
    server = make_server("127.0.0.1", 0, app, threaded=True)

    def stop(number: int, frame: FrameType | None) -> None:
        print(json.dumps({"requests": app.requests, "dropped": app.dropped}), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    import threading

    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.server_port}", **keys).create_bucket(Bucket="bucket")
    app.requests, app.drop_every = 0, drop_every
    print(server.server_port, flush=True)
    signal.pause()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
