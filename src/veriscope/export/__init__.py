"""Bundles as one ONNX file, measured against torch before they are written."""
