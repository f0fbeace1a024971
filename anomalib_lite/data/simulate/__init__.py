"""Simulated defects: DRAEM's Perlin masks, CutPaste, and what factories name, made to measure.

Nothing here learns or judges; same seed, same bytes. What simulated defects cannot promise is said
in docs/simulate.md.
"""

from anomalib_lite.data.simulate.defect_set import WrittenSet, write_defect_set
from anomalib_lite.data.simulate.draem import PastedBatch, paste_textures
from anomalib_lite.data.simulate.families import FAMILIES, Family
from anomalib_lite.data.simulate.made import DefectRequest, MadeDefect, put_defect, put_texture
from anomalib_lite.data.simulate.part_mask import Part, find_part, given_part, whole_picture
from anomalib_lite.data.simulate.perlin import perlin_masks, perlin_noise
from anomalib_lite.data.simulate.plan import DefectPlan
from anomalib_lite.data.simulate.random_defects import (
    DEFECT_KINDS,
    HARMLESS_KINDS,
    DefectKind,
    HarmlessKind,
    SimulatedDefect,
    harmless_change,
    simulate_among,
    simulate_defect,
)
from anomalib_lite.data.simulate.textures import TextureBank, procedural_textures, texture_folder

__all__ = [
    "DEFECT_KINDS",
    "FAMILIES",
    "HARMLESS_KINDS",
    "DefectKind",
    "DefectPlan",
    "DefectRequest",
    "Family",
    "HarmlessKind",
    "MadeDefect",
    "Part",
    "PastedBatch",
    "SimulatedDefect",
    "TextureBank",
    "WrittenSet",
    "find_part",
    "given_part",
    "harmless_change",
    "paste_textures",
    "perlin_masks",
    "perlin_noise",
    "procedural_textures",
    "put_defect",
    "put_texture",
    "simulate_among",
    "simulate_defect",
    "texture_folder",
    "whole_picture",
    "write_defect_set",
]
