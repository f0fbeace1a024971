"""What a child process needs before it can import anomalib beside a CPU torch."""

TORCHVISION = """
try:
    import torchvision
except RuntimeError:
    for module in [m for m in sys.modules if m.startswith("torchvision")]:
        del sys.modules[module]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
"""Missing operators get their schemas; put it after `import sys, torch`."""
