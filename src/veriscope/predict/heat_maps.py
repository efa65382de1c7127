"""Heat maps that `veriscope predict` writes beside its verdicts."""

from pathlib import Path

from veriscope.bundle.scorer import Scorer
from veriscope.data.decode import decode_image
from veriscope.errors import DataError, DecodeError
from veriscope.explain.overlay import to_png
from veriscope.explain.picture import Explanation, explain_picture
from veriscope.files import named_apart, whole_or_not_at_all
from veriscope.predict.explain import explains_by, find_method, logit_unit
from veriscope.predict.judge import Judge
from veriscope.types import ClassName, FacesVerdict, Verdict


class HeatMaps:
    """Writes what speaks for the class of each picture's verdict into a folder; videos have none.

    Args:
        folder: for NAME-HASH.heat.png, the hash being of the picture's path.
        scorer: what answered.
        judge: what turned answers into verdicts.

    Raises:
        DataError: the folder can't be made.

    """

    def __init__(self, folder: Path, *, scorer: Scorer, judge: Judge) -> None:
        self.folder = folder
        self.method = explains_by(scorer)
        self._explain = find_method(self.method, scorer)
        self._scorer, self._judge = scorer, judge
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"--heat-maps '{folder}': {error.strerror or error}") from error

    def write(self, path: Path, verdict: Verdict) -> None:
        """Write the heat map of a judged picture; of one without a score, or that is gone by now, none.

        Raises:
            DataError: the file can't be written.

        """
        if verdict.score is None:
            return
        try:
            image_HWC = decode_image(path, max_pixels=self._scorer.max_pixels)
        except DecodeError:
            return  # it has its verdict, and was changed since
        region = verdict.place if isinstance(verdict, FacesVerdict) else None
        height, width = image_HWC.shape[:2]
        if region is not None and (region.left + region.width > width or region.top + region.height > height):
            return  # as above
        target: ClassName = "fake" if verdict.score >= verdict.threshold else "real"
        found: Explanation = explain_picture(
            image_HWC,
            self._explain,
            spec=self._scorer.input,
            target=target,
            logit_unit=logit_unit(self._judge.terms.calibration),
            region=region,
        )
        file = named_apart(self.folder, path, ending=".heat.png")
        try:
            with whole_or_not_at_all(file) as temporary:
                temporary.write_bytes(to_png(found.pair))
        except OSError as error:
            raise DataError(f"'{file}' can't be written: {error.strerror or error}") from error
