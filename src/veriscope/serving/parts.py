"""What a server can do beside judging pictures, where the parts for it are installed: videos, heat maps."""

import base64
import errno
import hashlib
import logging
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

from veriscope.bundle.network import Network
from veriscope.bundle.scorer import Scorer
from veriscope.data.decode import decode_image
from veriscope.data.video import can_read_videos
from veriscope.errors import DecodeError
from veriscope.explain.evidence import CAVEAT, Evidence, Method, MethodName
from veriscope.explain.picture import explain_picture
from veriscope.predict.explain import explains_by, find_method, judge_with_place, logit_unit
from veriscope.predict.faces import FaceCutter
from veriscope.predict.judge import Judge
from veriscope.predict.video import VideoRules, judge_video
from veriscope.serving.engine import Engine
from veriscope.serving.errors import busy
from veriscope.serving.schemas import Capabilities, FileError, HeatMap
from veriscope.serving.sniff import file_error, no_picture
from veriscope.types import ClassName, VideoVerdict

log = logging.getLogger("veriscope.serving")
_NONE_LEFT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # processes, memory or files


def capabilities(cutter: FaceCutter | None = None) -> Capabilities:
    """Return what this installation can do; with a cutter it judges faces."""
    return Capabilities(explain=True, video=can_read_videos(), faces=cutter is not None)


def _over(scorer: Scorer, network: Network) -> Scorer:
    """Return the scorer with its passes done by another network."""
    found = copy(scorer)
    found.network = network
    return found


async def video_verdict(
    engine: Engine, data: bytes, *, judge: Judge, may_be_unsure: bool, timeout_s: float
) -> tuple[VideoVerdict, str]:
    """Return the verdict for a video, and the SHA-256 of its file. FFmpeg reads it in a process of its own, whose
    memory and time are bounded (data.video_apart); its frames share the network with everybody's pictures.

    Raises:
        ApiError: no room, or no process to be had (503), or the time is up (504).

    """
    rules = VideoRules(time_limit_s=timeout_s, threads=1, may_be_unsure=may_be_unsure, apart=True)

    def work(network: Network) -> tuple[VideoVerdict, str]:
        scorer = _over(engine.scorer, network)
        verdict = judge_video(scorer, data, judge=judge, rules=rules, cutter=engine.cutter, name="video")
        return verdict, hashlib.sha256(data).hexdigest()

    try:
        return await engine.help(work, timeout_s=timeout_s)
    except OSError as error:
        if error.errno not in _NONE_LEFT:
            raise
        log.warning("no process for a video: %s", error)
        raise busy(engine.retry_after_s()) from error


async def heat_map(engine: Engine, data: bytes, *, judge: Judge) -> HeatMap | FileError:
    """Return where the evidence lies in a picture, for the class that its score speaks for, or why there is none.

    Raises:
        ApiError: no room (503), or the time is up (504).

    """
    limits = engine.limits
    # Occlusion takes some 170 passes, as a video takes some 200.
    timeout_s = limits.timeout_s if explains_by(engine.scorer) == "grad_cam" else limits.video_s
    return await engine.help(partial(_explain, engine, data, judge), timeout_s=timeout_s)


def _explain(engine: Engine, data: bytes, judge: Judge, network: Network) -> HeatMap | FileError:
    if (error := no_picture(data)) is not None:
        return error
    try:
        image_HWC = decode_image(data, max_pixels=engine.limits.max_pixels)
    except DecodeError as failed:
        return file_error(failed)
    scorer = _over(engine.scorer, network)
    verdict, region = judge_with_place(scorer, judge.bundle.path, image_HWC, judge=judge, cutter=engine.cutter)
    if verdict.score is None:
        return FileError(code="no_score", message=f"There is nothing to explain: {verdict.error}.")
    name, method = _method(engine, scorer)
    target: ClassName = "fake" if verdict.score >= judge.threshold.value else "real"
    unit = logit_unit(judge.terms.calibration)
    found = explain_picture(image_HWC, method, spec=scorer.input, target=target, logit_unit=unit, region=region)
    height, width = found.view.shape[:2]
    return HeatMap(
        method=name,
        target=target,
        sentence=found.sentence + ("" if found.saw_all else " The dark part was not shown to the network."),
        is_weak=found.is_weak,
        saw_all=found.saw_all,
        png=base64.b64encode(found.overlay_png).decode(),
        width_px=width,
        height_px=height,
        caveat=CAVEAT,
    )


def _method(engine: Engine, scorer: Scorer) -> tuple[MethodName, Method]:
    """Return Grad-CAM, done by the network's thread, where the network is torch's; else occlusion, pass by pass."""
    if explains_by(engine.scorer) == "occlusion":
        return "occlusion", find_method("occlusion", scorer)
    grad_cam: Callable[[Any], Evidence] = find_method("grad_cam", engine.scorer)
    return "grad_cam", lambda image_BCHW: engine.on_network(lambda: grad_cam(image_BCHW))
