"""Guard: which requests are let in, before any of them is looked at."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "shiftless_token"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who is let in.

    host   where the app listens
    token  what a browser must show once, in the address (?token=...), and then has in a cookie; "" asks for none
    names  further names that the Host header may have
    """

    host: str = "127.0.0.1"
    token: str = ""
    names: tuple[str, ...] = ()

    def host_is_known(self, header: str) -> bool:
        """Whether a Host header names this app.

        A page of another site that makes its own name lead here (DNS rebinding) names itself. An address in numbers
        cannot be rebound, so each is taken where the app listens beyond loopback.

        >>> access = Access()
        >>> [access.host_is_known(one) for one in ("127.0.0.1:8000", "[::1]:8000", "evil.example", "10.0.0.5", "")]
        [True, True, False, False, False]
        >>> Access(host="0.0.0.0", token="t").host_is_known("10.0.0.5:8000")
        True
        """
        name = _name_of(header)
        if name in LOOPBACK or (name and name in (self.host.lower(), *map(str.lower, self.names))):
            return True
        return self.host not in LOOPBACK and _is_address(name)


class Guard:
    """An ASGI app before another: checks Host, Origin, Sec-Fetch-Site and the token, and adds headers of safety.

    A request with an Origin that is not the app's own is refused, and so is one that the browser says comes from
    another site, whatever it asks for.
    """

    def __init__(self, app: App, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            return
        headers = [(key.decode("latin-1").lower(), value.decode("latin-1")) for key, value in scope["headers"]]
        refusal = self.refusal(headers, scope.get("scheme", "http"))
        if refusal is None:
            shown = self._shown_in_address(scope)
            if shown is not None and scope["path"] == "/":
                await self._enter(shown, send)
                return
            if not self._has_token(headers):
                refusal = 401, "open the address that `shiftless explore` printed, with its token"
        if refusal is not None:
            await _answer(send, refusal[0], {"error": refusal[1]})
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {key.lower() for key, _ in message.get("headers", [])}
                added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        await self._app(scope, receive, guarded)

    def refusal(self, headers: list[tuple[str, str]], scheme: str = "http") -> tuple[int, str] | None:
        """Return the status and the reason for which a request with these headers is refused, or None.

        >>> Guard(None, Access()).refusal([("host", "127.0.0.1:1"), ("origin", "http://evil.example")])
        (403, 'the request comes from another site (http://evil.example)')
        """
        values = {key: [v for k, v in headers if k == key] for key in ("host", "origin", "sec-fetch-site")}
        if len(values["host"]) != 1 or not self._access.host_is_known(values["host"][0]):
            return 403, "the Host header does not name this app; open the address that `shiftless explore` printed"
        own = f"{scheme}://{values['host'][0]}".lower()
        for origin in values["origin"]:
            if origin.lower() != own:
                return 403, f"the request comes from another site ({origin[:80]})"
        if any(site not in ("same-origin", "none") for site in values["sec-fetch-site"]):
            return 403, "the request comes from another site"
        return None

    def _shown_in_address(self, scope: Scope) -> str | None:
        if not self._access.token:
            return None
        shown = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
        return shown[0] if shown else None

    async def _enter(self, shown: str, send: Send) -> None:
        """Take a token from the address into a cookie that scripts cannot read, and out of the address."""
        if not _same(shown, self._access.token):
            await _answer(send, 401, {"error": "the token in the address is not this app's"})
            return
        cookie = f"{COOKIE}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [*HEADERS.items(), ("location", "/"), ("set-cookie", cookie), ("content-length", "0")]
        coded = [(key.encode(), value.encode()) for key, value in headers]
        await send({"type": "http.response.start", "status": 303, "headers": coded})
        await send({"type": "http.response.body", "body": b""})

    def _has_token(self, headers: list[tuple[str, str]]) -> bool:
        token = self._access.token
        if not token:
            return True
        for key, value in headers:
            if key == "authorization" and _same(value, f"Bearer {token}"):
                return True
            if key == "cookie" and _same(_cookie(value), token):
                return True
        return False


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _name_of(header: str) -> str:
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _answer(send: Send, status: int, about: dict[str, str]) -> None:
    body = json.dumps(about).encode()
    headers = [*HEADERS.items(), ("content-type", "application/json"), ("content-length", str(len(body)))]
    coded = [(key.encode(), value.encode()) for key, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": coded})
    await send({"type": "http.response.body", "body": body})
