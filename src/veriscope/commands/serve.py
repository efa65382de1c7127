"""`veriscope serve`: a web page and an API."""

import argparse
import os
from pathlib import Path

from veriscope.commands.arguments import Commands, add_faces, checked, positive
from veriscope.commands.predict import add_terms
from veriscope.errors import ConfigError
from veriscope.processes import keep_freed_memory

_port = checked(int, lambda value: 0 <= value <= 65535, "is not between 0 and 65535")
_above_0 = checked(float, lambda value: 0 < value < 1e9, "is not above 0")
_not_negative = checked(float, lambda value: 0 <= value < 1e9, "is below 0")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="a web page and an API that judge pictures",
        description="Serve a detector: a page for people at /, an API below /v1, /openapi.json that describes it. "
        "Nothing that is uploaded is kept.",
        epilog="A token that clients must send is read from --token-file or the environment's VERISCOPE_TOKEN. SIGTERM "
        "ends the server when what is in flight is done.",
    )
    parser.add_argument(
        "bundle",
        type=Path,
        metavar="BUNDLE",
        help="folder that a training run left at RUN/bundle, or a file of `veriscope export`",
    )
    _add_access(parser)
    _add_limits(parser)
    add_terms(parser)
    add_faces(parser)
    _add_speed(parser)
    parser.set_defaults(run=_run)


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=_port, default=8000, help="default: 8000; 0: a free one")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token that clients must send")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name under which it answers beside localhost and plain addresses; may stand several times",
    )
    parser.add_argument(
        "--cors",
        action="append",
        default=[],
        type=_origin,
        metavar="ORIGIN",
        help="site whose pages may use the API, as https://desk.example; may stand several times (default: none)",
    )
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning"), help="info: a line for each request"
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-upload-mb", type=_above_0, default=25, metavar="MB", help="of a picture (default: 25)")
    parser.add_argument("--max-video-mb", type=_above_0, default=100, metavar="MB", help="of a video (default: 100)")
    parser.add_argument("--max-request-mb", type=_above_0, metavar="MB", help="of one request (default: 128)")
    parser.add_argument("--memory-mb", type=_above_0, metavar="MB", help="of all uploads at a time (default: 512)")
    parser.add_argument("--max-files", type=positive, metavar="N", help="of a request (default: 32)")
    parser.add_argument(
        "--max-pixels", type=positive, default=64_000_000, metavar="N", help="of a picture (default: 64,000,000)"
    )
    parser.add_argument(
        "--queue", type=positive, default=128, metavar="N", help="pictures that may wait; more get 503 (default: 128)"
    )
    parser.add_argument(
        "--timeout-s", type=_above_0, default=30, metavar="S", help="from upload to answer; then 504 (default: 30)"
    )
    parser.add_argument(
        "--video-timeout-s",
        type=_above_0,
        default=120,
        metavar="S",
        help="the same for a video, and for a heat map of an exported file (default: 120)",
    )
    parser.add_argument(
        "--drain-s",
        type=_not_negative,
        default=2,
        metavar="S",
        help="after SIGTERM /readyz says no for so long before the server stops listening (default: 2)",
    )
    parser.add_argument(
        "--stop-s", type=_above_0, default=10, metavar="S", help="then requests in flight get so long (default: 10)"
    )


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16"), help="auto: bf16 where the hardware has it"
    )
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N", help="pictures a pass (default: 16)")
    parser.add_argument(
        "--wait-ms",
        type=_not_negative,
        default=5,
        metavar="MS",
        help="how long a pass waits for pictures that are being decoded (default: 5)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="threads that decode (default: 4, or as many as there are cores)",
    )


def _run(arguments: argparse.Namespace) -> int:
    try:
        from veriscope.serving.server import run_serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("veriscope"):
            raise
        raise ConfigError(
            f"the server needs '{error.name}', which is not installed: pip install 'veriscope[serve]'"
        ) from None
    keep_freed_memory()
    return run_serve(arguments)


def _origin(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or not rest or set(rest) & set("/*?#@ "):
        raise argparse.ArgumentTypeError(f"'{text}' is no origin, as https://desk.example")
    return text.lower()
