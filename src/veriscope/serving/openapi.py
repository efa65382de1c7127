"""How the API describes itself, beyond what the schemas say."""

from http import HTTPStatus
from typing import Any

from veriscope.serving.schemas import Problem
from veriscope.serving.upload import FIELD

DESCRIPTION = """\
Real photograph or deepfake? Send pictures, get verdicts with a calibrated score. A verdict is a reason to look closer,
not a proof; `GET /v1/model` says what it rests on. Nothing that is sent is kept.

Every answer whose status is 400 or above has the shape of `Problem`. At 503 the header `Retry-After` says when to try
again.
"""


def form(*, max_files: int) -> dict[str, Any]:
    """Return the OpenAPI description of a form with files."""
    files = {
        "type": "array",
        "minItems": 1,
        "maxItems": max_files,
        "items": {"type": "string", "format": "binary"},
        "description": "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF; videos where the server reads them",
    }
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: files}, "additionalProperties": False}
    encoding = {FIELD: {"contentType": "application/octet-stream"}}
    content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    return {"requestBody": {"required": True, "content": content}}


_PROBLEMS = {
    400: ("bad_form", "The body is no multipart form as its Content-Type announces."),
    401: ("no_token", "This server asks for a token: Authorization: Bearer TOKEN."),
    403: ("foreign_origin", "Pages of other sites may not use this server's API."),
    408: ("too_slow_upload", "The body took over 60 s to come."),
    413: ("too_large", "A request may hold 100 MB. Send fewer files at once."),
    415: ("bad_type", "Send a form, multipart/form-data, with each picture as a part named 'files'."),
    421: ("unknown_host", "This server does not answer under that name."),
    503: ("busy", "The server has as much to do as it can hold. Try again in 2 s."),
    504: ("too_slow", "There was no answer within 30 s, and the work was dropped."),
}


def problems(*statuses: int, guarded: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for errors with these statuses, and for those that every route below /v1 has."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 403, 421, *([401] if guarded else [])}):
        code, message = _PROBLEMS[status]
        example = {"error": {"code": code, "message": message, "request_id": "5f2b8c1d9e3a4f60"}}
        found[status] = {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"example": example}},
        }
    return found
