"""Simulated defects: DRAEM's Perlin masks, CutPaste, and what factories name, made to measure.

Nothing here learns or judges; same seed, same bytes. What simulated defects cannot promise is said
in docs/simulate.md.
"""

from anomalib_lite.data.simulate.draem import PastedBatch, paste_textures
from anomalib_lite.data.simulate.perlin import perlin_masks, perlin_noise
from anomalib_lite.data.simulate.random_defects import (
    DEFECT_KINDS,
    HARMLESS_KINDS,
    DefectKind,
    HarmlessKind,
    SimulatedDefect,
    harmless_change,
    simulate_defect,
)
from anomalib_lite.data.simulate.textures import TextureBank, procedural_textures, texture_folder

__all__ = [
    "DEFECT_KINDS",
    "HARMLESS_KINDS",
    "DefectKind",
    "HarmlessKind",
    "PastedBatch",
    "SimulatedDefect",
    "TextureBank",
    "harmless_change",
    "paste_textures",
    "perlin_masks",
    "perlin_noise",
    "procedural_textures",
    "simulate_defect",
    "texture_folder",
]
