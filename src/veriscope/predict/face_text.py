"""What is said of faces: in a line, as JSON, and below the verdicts."""

from typing import Any

from veriscope.data.video import clock_text
from veriscope.predict.faces import FaceCutter
from veriscope.types import FacesVerdict, FaceTrack, FaceVerdict, Region


def faces_line(verdict: FacesVerdict) -> str:
    """Return a few words beside a picture's score: how many faces look fake, which one decides, what was left out."""
    faces, said = verdict.faces, []
    if len(faces) == 1:
        said.append(f"1 face, {_place(faces[0].region)}")
    elif faces:
        num_fake = sum(face.label == "fake" for face in faces)
        said.append(f"{num_fake} of {len(faces)} faces look fake")
        if verdict.decides is not None:
            said.append(f"the one {_place(faces[verdict.decides].region)} decides")
    # A missing verdict says it as its reason.
    if verdict.note is not None and verdict.note != verdict.error:
        said.append(verdict.note)
    return "; ".join(said)


def faces_json(verdict: FacesVerdict) -> dict[str, Any]:
    """Return what a row of JSON holds of a picture's faces."""
    return {
        "judged": "faces" if verdict.faces else "whole" if verdict.label is not None else "nothing",
        "decides": verdict.decides,
        "note": verdict.note,
        "found": [face_json(face) for face in verdict.faces],
    }


def face_json(face: FaceVerdict) -> dict[str, Any]:
    """Return one face as plain values; its region in pixels of the upright picture."""
    return {
        "region": face.region._asdict(),
        "confidence": round(face.confidence, 4),
        "verdict": face.label,
        "score": face.score,
        "logit": face.logit,
        "ood": None if face.ood is None else round(face.ood, 6),
        "unsure_because": face.unsure_because,
        "error": face.error,
    }


def track_json(track: FaceTrack) -> dict[str, Any]:
    """Return one followed face of a video as plain values."""
    return {
        "from_s": round(track.start_s, 3),
        "last_s": round(track.last_s, 3),
        "frames": track.num_frames,
        "region": track.region._asdict(),
        "verdict": track.label,
        "score": track.score,
        "logit": track.logit,
        "ood": None if track.ood is None else round(track.ood, 6),
    }


def track_line(track: FaceTrack) -> str:
    """Return which face of a video it is, in a few words."""
    return f"{_place(track.region)} from {clock_text(track.start_s)} to {clock_text(track.last_s)}"


def faces_footer(cutter: FaceCutter) -> str:
    """Return what a reader must know beside verdicts on faces."""
    rules = cutter.rules
    whole = "judged as a whole" if rules.no_face == "whole" else "given no verdict"
    return (
        f"Faces were cut out with {100 * rules.margin:.4g} % more on each side, by {cutter.finder.facts['detector']}; "
        f"a picture's verdict is that of its face with the highest score, and one without a face of {rules.min_px} px "
        f"or more is {whole}. Threshold and calibration were chosen on pictures as the detector was trained with: they "
        "hold where those were cut out like this."
    )


def _place(region: Region) -> str:
    return f"at {region.left},{region.top} ({region.width} x {region.height} px)"
