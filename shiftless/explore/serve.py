"""Serving: the explorer's app on a port of this machine, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib.util import find_spec

from shiftless.errors import BadInput
from shiftless.explore.app import create_app
from shiftless.explore.explorer import Explorer
from shiftless.explore.guard import LOOPBACK, Access

SHORTEST = 16
"""Characters that a token has at least."""


def check_access(host: str, token: str) -> Access:
    """Return who is let in; raises BadInput for a host beyond loopback without a token, and for a token too short.

    >>> check_access("0.0.0.0", "")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: --host 0.0.0.0 lets other machines in; give a --token of 16 characters or more too
    """
    if host not in LOOPBACK and not token:
        raise BadInput(f"--host {host} lets other machines in; give a --token of {SHORTEST} characters or more too")
    if token and (len(token) < SHORTEST or not all(one.isascii() and (one.isalnum() or one in "-_") for one in token)):
        raise BadInput(
            f"--token: give {SHORTEST} letters, digits, - and _ or more, such as `openssl rand -hex 16` prints"
        )
    return Access(host, token)


def check_installed() -> None:
    """Raise BadInput where the packages of the extra "app" are missing, before a model is loaded."""
    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise BadInput(f'the explorer needs {" and ".join(missing)}; install with: pip install "shiftless[app]"')


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes a free one. Raises BadInput for a port that is taken.

    >>> with bound("127.0.0.1", 0) as one:
    ...     one.getsockname()[1] > 0
    True
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: asyncio then turns Nagle off
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((host, port))
            opened.listen(128)
        except BaseException:
            opened.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"--host {host} --port {port}: cannot listen there ({reason}); give another --port") from None
    return opened


def address(host: str, port: int, token: str = "") -> str:
    """Write the address to open.

    >>> address("::1", 8000), address("127.0.0.1", 80, "secret")
    ('http://[::1]:8000/', 'http://127.0.0.1:80/?token=secret')
    """
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def serve(explorer: Explorer, access: Access, opened: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve until the process is interrupted; `ready` is told the address."""
    import uvicorn

    app = create_app(explorer, access)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False, ws="none", lifespan="off",
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    ready(address(access.host, opened.getsockname()[1], access.token))
    try:
        uvicorn.Server(config).run(sockets=[opened])
    finally:
        explorer.close()
