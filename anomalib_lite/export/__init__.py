"""Export: plain fitted state becomes one verified ONNX file; nothing is fitted or chosen here."""

from anomalib_lite.export.onnx_file import ExportReport, ExportState, export_onnx
from anomalib_lite.export.parity import ParityReport

__all__ = ["ExportReport", "ExportState", "ParityReport", "export_onnx"]
