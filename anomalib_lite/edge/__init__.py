"""Torch-free ground floor: numpy, OpenCV and ONNX Runtime only."""
