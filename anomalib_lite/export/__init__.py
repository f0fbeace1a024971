"""Export: a fitted detector becomes one verified ONNX file."""

from anomalib_lite.export.onnx_file import ExportReport, export_onnx
from anomalib_lite.export.parity import ParityReport

__all__ = ["ExportReport", "ParityReport", "export_onnx"]
