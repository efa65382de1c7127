"""HTTP's lowest part: connections that say nothing don't stay, and what is no HTTP gets the one shape of errors."""

import asyncio
import contextlib
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0  # time for a request's header to come, and for a refused body to end
MAX_CONNECTIONS = 1000


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for the end of a header for ever, with an end to its patience."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room for one more."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._patience = self._stop(self._patience)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the clock runs while no request is being handled."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._patience = self._stop(self._patience)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        problem = {"error": {"code": "bad_http", "message": "This is no HTTP request.", "request_id": "none"}}
        body = json.dumps(problem).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ]
        events: tuple[Any, ...] = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        # Where an answer to an earlier request is under way it stays, and the connection ends with it.
        with contextlib.suppress(h11.LocalProtocolError):
            # In one write: it is one packet, and whoever reads once has all of it.
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEADER_S, self.transport.close)

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
