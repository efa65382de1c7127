"""What an export says of itself: on the screen, and in the notices of what was written."""

from collections.abc import Mapping

from veriscope.bundle.onnx_bundle import Costs, ExportFacts
from veriscope.export.parity import TOLERANCE, Answers


def lines(
    facts: ExportFacts, known: Mapping[str, Answers], *, measured: Mapping[str, Costs], size_bytes: int
) -> list[str]:
    """Return the report, a line an entry: `known` holds answers of 'torch', 'fp32' and 'int8' on --check, `measured`
    how far the graphs among them lie from torch."""
    found = [f"{facts.precision}, opset {facts.opset}, {size_bytes / 1e6:.1f} MB"]
    if facts.costs is None:
        found.append(
            f"compared with torch on made pictures: logits within {TOLERANCE:g}. --check DIR compares on yours."
        )
        return found
    found.append(f"against torch in fp32 on {_pictures(facts.costs)}:")
    found += [f"  {name}: {_distance(costs)}" for name, costs in measured.items()]
    count = max(facts.costs.num_pictures, 1)
    speeds = ", ".join(f"{name} {1000 * side.seconds / count:.0f} ms" for name, side in known.items())
    found.append(f"processor time a picture, network alone: {speeds}")
    return found


def int8_notice(facts: ExportFacts) -> str:
    """Return what must stand beside verdicts of a graph in 8 bits."""
    text = (
        "The network computes in 8 bits; calibration, thresholds, unsure band and out-of-distribution score were "
        "fitted in 32, and nobody has fitted them anew."
    )
    if facts.costs is None:
        return text
    curve = (
        ""
        if facts.costs.auroc is None or facts.costs.auroc_torch is None
        else f" (AUROC {facts.costs.auroc:.3f}, in 32 bits {facts.costs.auroc_torch:.3f})"
    )
    return (
        f"{text} On {_pictures(facts.costs)} {facts.costs.num_flips} verdicts are others, scores differ by up to "
        f"{facts.costs.max_score:.2g}{curve}."
    )


def _pictures(costs: Costs) -> str:
    unread = f", {costs.num_without} without a verdict" if costs.num_without else ""
    return f"{costs.num_pictures} pictures of '{costs.pictures}'{unread}"


def _distance(costs: Costs) -> str:
    curve = ""
    if costs.auroc is not None and costs.auroc_torch is not None:
        curve = f"; AUROC {costs.auroc:.4f}, torch's {costs.auroc_torch:.4f}"
    strange = "" if costs.max_ood is None else f", ood by up to {costs.max_ood:.2g}"
    return (
        f"logits differ by up to {costs.max_logit:.2g}, scores by up to {costs.max_score:.2g}{strange}; "
        f"{costs.num_flips} verdicts are others{curve}"
    )
