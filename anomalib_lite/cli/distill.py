"""`anomalib-lite distill`: a large network's features -> a small network that runs anywhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from anomalib_lite.cli.common import bold, console
from anomalib_lite.cli.grouped import grouped
from anomalib_lite.cli.options import DEFAULT_MEGAPIXELS, Device, MaxMegapixels, Seed, Threads
from anomalib_lite.cli.progress import progress_bar
from anomalib_lite.cli.values import checked_minutes, parse_layers

if TYPE_CHECKING:
    from anomalib_lite.backbones.base import Backbone
    from anomalib_lite.distillation.pictures import PicturePool
    from anomalib_lite.distillation.settings import DistillSettings
    from anomalib_lite.distillation.train import Distillation

Size = Literal["edge", "small", "medium"]
_RATES = {"edge": 2e-3, "small": 5e-4, "medium": 5e-4}
_MOST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What the small network sees while it learns."""

    panel: ClassVar[str] = "Pictures"
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FOLDER",
            help="Folders of any pictures, the more varied the better. None is needed.",
        ),
    ] = None
    procedural: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Pictures to draw (fractals, textures, shapes) beside the folders.",
        ),
    ] = 2000
    fine: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Fine regular textures to draw (meshes, knurls, rasters, weaves), for parts that "
            "look so.",
        ),
    ] = 0
    crop: Annotated[int, typer.Option(metavar="PIXELS", help="Side of a crop.")] = 160


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What is imitated."""

    panel: ClassVar[str] = "Teacher"
    teacher: Annotated[
        str,
        typer.Option(metavar="NAME", help="The network to imitate: resnet18 or another timm name."),
    ] = "resnet18"
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Its layers of stride 4, 8 and 16. Default: the last of each.",
        ),
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of the teacher (.safetensors)."),
    ] = None

    def network(self) -> Backbone:
        """The teacher, ready to be asked."""
        layers = parse_layers(self.layers)
        from anomalib_lite.backbones import create_backbone

        return create_backbone(self.teacher, layers=layers, weights=self.weights)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How it learns."""

    panel: ClassVar[str] = "Training"
    size: Annotated[
        Size,
        typer.Option(help="edge: for two CPU cores; small, medium: EfficientAD's PDN-S and PDN-M."),
    ] = "edge"
    steps: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Steps; the learning rate falls to 0 over them."),
    ] = 20000
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            callback=checked_minutes,
            help="Stop after so many minutes and keep the checkpoint; go on by --resume.",
        ),
    ] = None
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Crops a step.")] = 24
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Largest learning rate. Default: by size."),
    ] = None
    bf16: Annotated[
        bool,
        typer.Option(
            "--bf16", metavar="", help="Compute in bfloat16: quicker where the processor knows it."
        ),
    ] = False
    start: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Weights to begin with: a file of an earlier run, or 'shipped'. Default: random.",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", metavar="", help="Go on from the checkpoint beside OUT, bit for bit."
        ),
    ] = False

    def settings(self, crop: int, seed: int) -> DistillSettings:
        """The settings, checked."""
        from anomalib_lite.distillation.settings import DistillSettings

        rate = _RATES[self.size] if self.learning_rate is None else self.learning_rate
        return DistillSettings(
            size=self.size,
            steps=self.steps,
            batch_size=self.batch_size,
            side=crop,
            learning_rate=rate,
            bf16=self.bf16,
            seed=seed,
        )

    def first_weights(self) -> Path | None:
        """The file to begin with, or None."""
        from anomalib_lite.backbones.pdn_backbone import SHIPPED
        from anomalib_lite.edge.errors import SettingsError

        if self.start is None:
            return None
        named = SHIPPED / f"pdn_{self.size}.safetensors"
        first = named if self.start == "shipped" else Path(self.start)
        if not first.is_file():
            raise SettingsError(
                f"--start {self.start}: there is no {first.name}; give a weights file"
            )
        return first


@grouped
def distill(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write the weights (.safetensors).")
    ],
    pictures: Pictures,
    teacher: Teacher,
    steps: Steps,
    note: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Text for the model card, e.g. the licence of the pictures."
        ),
    ] = "",
    max_megapixels: MaxMegapixels = DEFAULT_MEGAPIXELS,
    seed: Seed = 0,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Teach a small patch network to give what a large network gives.

    The result is a backbone: `fit --backbone pdn_edge --weights OUT`, or put it as
    pdn_edge.safetensors into the folder ANOMALIB_LITE_WEIGHTS.
    """
    checkpoint = _checkpoint(out, steps.resume)
    from anomalib_lite.cli.signals import stopped_early
    from anomalib_lite.distillation.train import Distillation
    from anomalib_lite.distillation.weights_file import write_weights
    from anomalib_lite.edge.files import ensure_writable
    from anomalib_lite.system.threads import use_threads

    use_threads(threads)
    settings, first = steps.settings(pictures.crop, seed), steps.first_weights()
    ensure_writable(out)
    network = teacher.network()
    run = Distillation(_pool(pictures, seed), network, settings, start=first, device=device)
    if steps.resume and checkpoint.exists():
        run.resume(checkpoint)
        console(stderr=True).print(f"going on at step {run.step}")
    done, interrupted = _train(run, checkpoint, steps.minutes)
    write_weights(run, out, note=note)
    _tell(run, out, checkpoint)
    if interrupted:
        raise typer.Exit(stopped_early())
    if done:
        checkpoint.unlink(missing_ok=True)


def _checkpoint(out: Path, resume: bool) -> Path:
    from anomalib_lite.edge.errors import SettingsError

    if out.suffix != ".safetensors":
        raise SettingsError(f"--out {out}: the weights file must end in .safetensors")
    checkpoint = out.with_suffix(".checkpoint.safetensors")
    if checkpoint.exists() and not resume:
        raise SettingsError(f"{checkpoint}: a run was stopped here; add --resume, or delete it")
    return checkpoint


def _pool(pictures: Pictures, seed: int) -> PicturePool:
    from anomalib_lite.distillation.pictures import PicturePool

    with progress_bar() as progress:
        pool = PicturePool(
            pictures.pictures or [],
            procedural=pictures.procedural,
            fine=pictures.fine,
            seed=seed,
            progress=progress,
        )
    err = console(stderr=True)
    err.print(f"{sum(map(len, pool.groups))} pictures, {pool.bytes / 1e6:.0f} MB in memory")
    for name, why in list(pool.skipped.items())[:_MOST_LISTED]:
        err.print(f"  skipped {name}: {why}", markup=False)
    return pool


def _train(run: Distillation, checkpoint: Path, minutes: float | None) -> tuple[bool, bool]:
    """Whether the last step was reached, and whether it was Ctrl-C that ended the run."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    told = len(run.held_out)
    with progress_bar() as progress:

        def tell(stage: str, done: int, total: int) -> None:
            nonlocal told
            for step, error in run.held_out[told:]:
                console(stderr=True).print(f"step {step}, held-out error {error:.3f}")
            told = len(run.held_out)
            progress(stage, done, total)

        done = run.run(until=until, progress=tell, checkpoint=checkpoint)
    spent = until is not None and time.monotonic() > until
    return done, not done and not spent


def _tell(run: Distillation, out: Path, checkpoint: Path) -> None:
    screen = console()
    error = f"{run.held_out[-1][1]:.3f}" if run.held_out else "not measured yet"
    screen.print(
        f"{bold(out)}: pdn_{run.settings.size} after {run.step} of {run.settings.steps} "
        f"steps, held-out error {error} (1 = a constant guess)"
    )
    if run.step < run.settings.steps:
        screen.print(f"stopped early; {checkpoint} goes on with --resume")
