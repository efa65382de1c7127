"""What holds for every request, before any route sees it: who asks, under which name, and what every answer carries."""

import asyncio
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from veriscope.serving.errors import ApiError, internal, stopping
from veriscope.serving.metrics import Metrics
from veriscope.serving.settings import Access

log = logging.getLogger("veriscope.serving")

# Without a token: what load balancers ask, what the page is made of, and how the API is described. All else needs it.
_OPEN = ("/healthz", "/readyz", "/openapi.json")
_GUARDED = ("/v1/", "/metrics")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware around the whole application.

    It gives the request an id, checks name, origin and token, adds the headers, counts, writes the log's line, and
    turns every error into the one shape. The log never holds a file's name, a query or an address.
    """

    def __init__(self, app: ASGIApp, *, access: Access, metrics: Metrics) -> None:
        self.app = app
        self.access = access
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        origin = headers.get("origin", "")

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._dress(MutableHeaders(scope=message), request_id=request_id, origin=origin)
            await send(message)

        try:
            if (early := self._check(scope, headers)) is not None:
                await _answer(answered, early)
            else:
                await self.app(scope, receive, answered)
        except ApiError as error:
            await self._tell(answered, error, request_id)
        except ClientDisconnect:
            status = 499  # nginx's number for a client that has gone; nobody reads it
        except asyncio.CancelledError:  # the server ends, and its time for what is in flight is up
            if status:
                raise
            await self._tell(answered, stopping(), request_id)
        except Exception:
            log.exception("request %s failed", request_id)
            if status:
                raise  # an answer has begun: only breaking the connection tells the client that it is not whole
            await self._tell(answered, internal(), request_id)
        finally:
            self._count(scope, status or 499, time.monotonic() - began, request_id)

    def _check(self, scope: Scope, headers: Headers) -> Mapping[str, str] | None:
        """Return the headers of an answer that is complete already (CORS preflight), else None.

        Raises:
            ApiError: the request is not for this server, or not from whom it serves.

        """
        path = scope["path"]
        if not _is_own_name(headers.get("host", ""), self.access.hosts) and path not in _OPEN:
            # A page of another site can let its name point here and read the answers; its browser then sends that name.
            raise ApiError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "unknown_host",
                "This server does not answer under that name. Its operator can name it: --allowed-host NAME.",
            )
        if not path.startswith(_GUARDED):
            return None
        origin = headers.get("origin")
        foreign = origin is not None and not _is_same(origin, headers.get("host", ""))
        if foreign and origin not in self.access.origins:
            raise ApiError(
                HTTPStatus.FORBIDDEN, "foreign_origin", "Pages of other sites may not use this server's API."
            )
        if foreign and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            return {
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Allow-Headers": "Authorization, X-Request-ID",
                "Access-Control-Max-Age": "600",
            }
        if self.access.token is not None and not _has_token(headers, self.access.token):
            raise ApiError(
                HTTPStatus.UNAUTHORIZED, "no_token", "This server asks for a token: Authorization: Bearer TOKEN."
            )
        return None

    def _dress(self, headers: MutableHeaders, *, request_id: str, origin: str) -> None:
        for name, value in SECURITY_HEADERS.items():
            headers[name] = value
        headers["X-Request-ID"] = request_id
        headers.setdefault("Cache-Control", "no-store")
        if self.access.origins:
            headers["Vary"] = "Origin"
        if origin in self.access.origins:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-ID"
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    async def _tell(self, send: Send, error: ApiError, request_id: str) -> None:
        self.metrics.refused.labels(error.code).inc()
        headers = {"Content-Type": "application/json", **error.headers}
        await _answer(send, headers, status=error.status, body=error.body(request_id))

    def _count(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        # The route's own pattern, not the path: a client must not be able to make labels, or to write into the log.
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.request_s.labels(route).observe(seconds)
        level = logging.DEBUG if route in _OPEN or route == "/metrics" else logging.INFO
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "OTHER"
        log.log(level, "%s %s %s %d %.0f ms", request_id, method, route, status, 1000 * seconds)


def _request_id(headers: Headers) -> str:
    """Return the id that a proxy gave, if it is a harmless one, else a new one."""
    given = headers.get("x-request-id", "")
    return given if re.fullmatch(r"[A-Za-z0-9_-]{8,64}", given) else secrets.token_hex(8)


def _is_own_name(host: str, names: Iterable[str]) -> bool:
    """Return whether a Host header names this server: localhost, an address as such, or one of `names`."""
    name = _hostname(host)
    if name in ("localhost", *names):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    """Return whether an Origin is this server's own. The scheme is left out: behind a proxy it is another."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def _has_token(headers: Headers, token: str) -> bool:
    """Return whether the request carries the token; the time it takes doesn't tell how much of it was right."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and compare_digest(given.strip().encode(), token.encode())


async def _answer(
    send: Send, headers: Mapping[str, str], *, status: int = HTTPStatus.NO_CONTENT, body: bytes = b""
) -> None:
    fields = {**headers, **({"Content-Length": str(len(body))} if body else {})}
    raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": raw})
    await send({"type": "http.response.body", "body": body})
