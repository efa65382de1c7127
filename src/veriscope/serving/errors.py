"""What goes wrong between a client and the server: one shape for all of it, no path and no stack trace."""

from collections.abc import Mapping
from http import HTTPStatus

from veriscope.serving.schemas import Problem, ProblemFacts


class ApiError(Exception):
    """A request that gets no answer. `code` is a word for programs, `message` a sentence for people."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self._headers = {} if headers is None else dict(headers)

    @property
    def headers(self) -> dict[str, str]:
        """Header fields that belong to it."""
        found = dict(self._headers)
        if self.retry_after_s is not None:
            found["Retry-After"] = str(self.retry_after_s)
        if self.status == HTTPStatus.UNAUTHORIZED:
            found["WWW-Authenticate"] = 'Bearer realm="veriscope"'
        return found

    def body(self, request_id: str) -> bytes:
        """Return the answer as JSON."""
        facts = ProblemFacts(code=self.code, message=self.message, request_id=request_id)
        return Problem(error=facts).model_dump_json().encode()


def bad_request(message: str, *, code: str = "bad_request") -> ApiError:
    """Return the error of a request that is not built as it should be."""
    return ApiError(HTTPStatus.BAD_REQUEST, code, message)


def too_large(message: str) -> ApiError:
    """Return the error of a request that is larger than the server grants."""
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)


def busy(retry_after_s: int) -> ApiError:
    """Return the error of a server that has enough to do."""
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "busy",
        f"The server has as much to do as it can hold. Try again in {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )


def stopping() -> ApiError:
    """Return the error of a server that takes nothing new since it is about to end."""
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE, "stopping", "The server is about to end. Try again.", retry_after_s=5
    )


def too_slow(timeout_s: float) -> ApiError:
    """Return the error of work that took longer than it may."""
    return ApiError(
        HTTPStatus.GATEWAY_TIMEOUT,
        "too_slow",
        f"There was no answer within {timeout_s:g} s, and the work was dropped. Send fewer or smaller pictures, or try "
        "again later.",
    )


def internal() -> ApiError:
    """Return the error of a fault in the program; the log knows it by the request's id."""
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong in the server. Its log says what, under this request_id.",
    )
