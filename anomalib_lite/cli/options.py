"""Options that several commands share, each written once: its type, its words, its panel.

Groups are dataclasses (see `grouped`); a single option is an `Annotated` type.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from anomalib_lite.cli.names import complete_backbone, complete_detector
from anomalib_lite.cli.values import (
    checked_megapixels,
    checked_seed,
    parse_layers,
    parse_settings,
)

if TYPE_CHECKING:
    from anomalib_lite.edge.prepare import InputSpec

FRAMES, MODEL, OUTPUT, RUN = "Frames", "Detector and backbone", "Output", "Run"
THRESHOLD = "Threshold"
FILES = "Files"

# The choices are repeated here since the modules that own them are not loaded for the help; a
# test compares.
Engine = Literal[
    "auto", "onnxruntime", "openvino", "openvino-bf16", "cuda", "tensorrt", "tensorrt-fp16"
]
Colour = Literal["rgb", "grey"]
Alpha = Literal["opaque", "ignore"]
Exif = Literal["apply", "ignore"]
Calibration = Literal["auto", "folds", "holdout"]

ModelFile = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="Edge file (.onnx) or detector (.safetensors)."),
]
EngineOption = Annotated[
    Engine | None,
    typer.Option(
        metavar="NAME",
        help="What computes an edge file: onnxruntime (default), openvino, openvino-bf16, cuda, "
        "tensorrt, tensorrt-fp16; auto measures once on this machine and remembers.",
        rich_help_panel=RUN,
    ),
]
EngineSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-option",
        metavar="NAME=VALUE",
        help="For cuda and tensorrt, as ONNX Runtime documents them: device_id=1.",
        rich_help_panel=RUN,
    ),
]
Spinning = Annotated[
    bool,
    typer.Option(
        "--spinning/--no-spinning",
        help="Whether onnxruntime's waiting threads keep their cores busy; --no-spinning leaves "
        "them to the camera and others.",
        rich_help_panel=RUN,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1024,
        help="Processor threads. Default: all cores, or less where a container's CPU quota or "
        "OMP_NUM_THREADS says so.",
        rich_help_panel=RUN,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Where torch computes: auto (CUDA where it finds a device), cpu, cuda, cuda:1 or mps.",
        rich_help_panel=RUN,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        callback=checked_seed,
        help="Same seed, same images: same bytes.",
        rich_help_panel=RUN,
    ),
]
MaxFalseReject = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        help="Share of good parts that may be rejected, between 0 and 1.",
        rich_help_panel=THRESHOLD,
    ),
]
GroupBy = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="RULE",
        help="Which images show one part, so that they are learnt, or judged, together and count "
        "once: folder; block:25 for frames that follow each other; a pattern of the names such as "
        "'part(\\d+)_'; a file.csv (name,group); none. Default: what looks like a copy, and blocks "
        "of a video.",
        rich_help_panel=THRESHOLD,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Setting of the detector; which there are: --detector NAME --help. Of a part of "
        "several: patchcore.rows=2000.",
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Weights of the backbone (.safetensors). Default: the folder in "
        "ANOMALIB_LITE_WEIGHTS, then the hub.",
        rich_help_panel=MODEL,
    ),
]
ImageSize = Annotated[
    str,
    typer.Option(
        metavar="HxW",
        help="What the network sees, pixels: 256, or HxW such as 256x320.",
        rich_help_panel=FRAMES,
    ),
]
DEFAULT_MEGAPIXELS = 100.0  # edge.picture_file.MAX_MEGAPIXELS, which --help must not import
MaxMegapixels = Annotated[
    float,
    typer.Option(
        metavar="N",
        callback=checked_megapixels,
        help="Refuse larger pictures before they are decoded, masks too; raise it for very large "
        "frames.",
        rich_help_panel=FILES,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON for programs.")]
Heatmaps = Annotated[
    bool,
    typer.Option(
        "--heatmaps",
        metavar="",
        help="Write a picture with the heat map of each frame.",
        rich_help_panel=OUTPUT,
    ),
]
ResumePool = Annotated[
    bool,
    typer.Option(
        "--resume",
        metavar="",
        help="Continue an interrupted run in OUT.",
        rich_help_panel=RUN,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What a frame is, declared: nothing is guessed."""

    panel: ClassVar[str] = FRAMES
    roi: Annotated[
        Path | None,
        typer.Option(
            metavar="MASK",
            help="Mask image; only its non-black pixels count. Same view as the frames.",
        ),
    ] = None
    colour: Annotated[Colour, typer.Option(help="grey ignores colour on purpose.")] = "rgb"
    bit_depth: Annotated[
        int, typer.Option(metavar="BITS", help="Significant bits of the camera, 8 to 16.")
    ] = 8
    alpha: Annotated[
        Alpha, typer.Option(help="opaque refuses transparent images; ignore drops transparency.")
    ] = "opaque"
    exif: Annotated[
        Exif, typer.Option(help="apply turns photographs upright by their EXIF tag.")
    ] = "apply"

    def spec(self, size_hw: tuple[int, int]) -> InputSpec:
        """The declaration that preparation, file and edge share, at a size; reads the mask."""
        from anomalib_lite.cli.common import console
        from anomalib_lite.edge.frames import read_frame
        from anomalib_lite.edge.model_files.roi import faint_pixels
        from anomalib_lite.edge.prepare import InputSpec

        spec = InputSpec(
            height=size_hw[0],
            width=size_hw[1],
            colour=self.colour,
            bit_depth=self.bit_depth,
            alpha=self.alpha,
            exif=self.exif,
        )
        if self.roi is None:
            return spec
        mask = read_frame(self.roi, exif="ignore")
        if faint := faint_pixels(mask):
            console(stderr=True).print(
                f"note: {self.roi}: {faint} nearly black pixels count as inside, too, for they are "
                "not black; a mask saved as JPEG has such edges: save it as PNG",
                markup=False,
                style="yellow",
            )
        return spec.with_roi(mask)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Which scorer on which backbone."""

    panel: ClassVar[str] = MODEL
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_detector,
            help="patchcore: any part, also one that turns or moves; padim: parts that always lie "
            "the same way, quicker; mvg: logical defects, the part as a whole; knn: the baseline; "
            "efficientad, stfpm, draem and reconstruction train by steps. patchcore+mvg: several "
            "over one pass. Its own options: --detector NAME --help.",
        ),
    ] = "patchcore"
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_backbone,
            help="pdn_edge is in the package; resnet18 and other timm names need weights. "
            "Default: what the detector works best with.",
        ),
    ] = None
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Backbone layers. Default: strides 4, 8 and 16, or the detector's choice. auto "
            "judges them by the good images and says why.",
        ),
    ] = None
    weights: Weights = None
    setting: Settings = None

    def layer_names(self) -> list[str] | None:
        """The layers named, or None for the default; `auto` is for who asks for it."""
        return parse_layers(self.layers)

    def settings(self, taken: Collection[str], **options: Any) -> dict[str, Any]:
        """What `--set` and the options give to the scorer, checked against what it has.

        Args:
            taken: names of all options of the command; `--set` of one is refused.
            options: the options that are settings.
        """
        return parse_settings(self.setting or [], self.detector, options, taken)
