"""`shiftless explore`: what it refuses before anything is loaded, and that it serves."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request

import pytest

pytest.importorskip("fastapi", reason='needs the extra "app", which `make venv` installs')
uvicorn = pytest.importorskip("uvicorn", reason='needs the extra "app", which `make venv` installs')


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("--host", "0.0.0.0"), "give a --token of 16 characters or more"),
        (("--token", "short"), "--token: give 16 letters"),
        (("--token", "a token with blanks"), "--token: give 16 letters"),
        (("--recipe", "no-such-preset"), "no preset 'no-such-preset'"),
        (("nowhere",), "nowhere: no such file or folder"),
        (("-m", "twin:sd15", *("--recipe", "dift-spair") * 5, "--fill", "category=cat"), "5 recipes: give 1 to 4"),
    ],
)
def test_bad_input_is_one_line(command, flags, fault):
    model = () if "-m" in flags else ("-m", "twin:sd15")
    code, out, err = command("explore", *flags, *model, "--port", 0)
    assert (code, out) == (2, "")
    assert fault in err.splitlines()[-1]


def test_a_port_that_is_taken_is_told(command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = command("explore", "--port", port)
    assert code == 2
    assert f"--port {port}: cannot listen there" in err


def test_it_serves_the_page_at_the_address_that_it_prints(command, photo, monkeypatch):
    servers, got = [], []

    class Noted(uvicorn.Server):
        def __init__(self, config):
            super().__init__(config)
            servers.append(self)

    def visit():
        while not servers or not servers[0].started:
            time.sleep(0.01)
        try:
            port = servers[0].servers[0].sockets[0].getsockname()[1]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                got.extend((port, answer.read()))
        finally:
            servers[0].should_exit = True

    monkeypatch.setattr(uvicorn, "Server", Noted)
    visitor = threading.Thread(target=visit)
    visitor.start()
    code, out, err = command("explore", photo, "-m", "twin:sd15", "--port", 0)
    visitor.join()
    assert (code, err) == (0, "")
    assert out == f"open http://127.0.0.1:{got[0]}/   (Ctrl-C stops)\n"
    assert b'data-testid="panel-match"' in got[1]
