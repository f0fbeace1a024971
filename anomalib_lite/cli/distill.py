"""`anomalib-lite distill`: a large network's features -> a small network that runs anywhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from anomalib_lite.cli.common import console, progress_bar

if TYPE_CHECKING:
    from anomalib_lite.distillation.train import Distillation

_RATES = {"edge": 2e-3, "small": 5e-4, "medium": 5e-4}
UNFINISHED = 4


def distill(
    out: Annotated[Path, typer.Option(help="Where to write the weights (.safetensors).")],
    pictures: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of any pictures, the more varied the better. None is needed."),
    ] = None,
    size: Annotated[
        str,
        typer.Option(help="edge: for two CPU cores; small, medium: EfficientAD's PDN-S and PDN-M."),
    ] = "edge",
    teacher: Annotated[
        str, typer.Option(help="The network to imitate: resnet18 or another timm name.")
    ] = "resnet18",
    layers: Annotated[
        str | None,
        typer.Option(help="Its layers of stride 4, 8 and 16; default: the last of each."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the teacher (.safetensors).")
    ] = None,
    procedural: Annotated[
        int, typer.Option(help="Pictures to draw (fractals, textures, shapes) beside the folders.")
    ] = 2000,
    steps: Annotated[
        int, typer.Option(help="Steps; the learning rate falls to 0 over them.")
    ] = 20000,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after so many minutes and keep the checkpoint; go on by --resume."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Crops a step.")] = 24,
    crop: Annotated[int, typer.Option(help="Side of a crop, pixels.")] = 160,
    learning_rate: Annotated[
        float | None, typer.Option(help="Largest learning rate; default: by size.")
    ] = None,
    bf16: Annotated[
        bool, typer.Option(help="Compute in bfloat16: quicker on processors that know it.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures: same bytes.")] = 0,
    resume: Annotated[
        bool, typer.Option(help="Go on from the checkpoint beside OUT, bit for bit.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            help="Weights to begin with: a file of an earlier run, or 'shipped'; default: random."
        ),
    ] = None,
    note: Annotated[
        str, typer.Option(help="Text for the model card, e.g. the licence of the pictures.")
    ] = "",
) -> None:
    """Teach a small patch network to give what a large network gives.

    The result is a backbone: `fit --backbone pdn_edge --weights OUT`, or put it as
    pdn_edge.safetensors into the folder ANOMALIB_LITE_WEIGHTS.
    """
    from anomalib_lite.backbones import create_backbone
    from anomalib_lite.backbones.pdn import Size
    from anomalib_lite.backbones.pdn_backbone import SHIPPED
    from anomalib_lite.distillation.pictures import PicturePool
    from anomalib_lite.distillation.settings import DistillSettings
    from anomalib_lite.distillation.train import Distillation
    from anomalib_lite.distillation.weights_file import write_weights
    from anomalib_lite.edge.errors import SettingsError
    from anomalib_lite.edge.files import ensure_writable

    if out.suffix != ".safetensors":
        raise SettingsError(f"--out {out}: the weights file must end in .safetensors")
    ensure_writable(out)
    settings = DistillSettings(
        size=cast(Size, size),
        steps=steps,
        batch_size=batch_size,
        side=crop,
        learning_rate=learning_rate or _RATES.get(size, _RATES["edge"]),
        bf16=bf16,
        seed=seed,
    )
    first = None
    if start:
        first = SHIPPED / f"pdn_{size}.safetensors" if start == "shipped" else Path(start)
        if not first.is_file():
            raise SettingsError(f"--start {start}: there is no {first.name}; give a weights file")
    checkpoint = out.with_suffix(".checkpoint.safetensors")
    if checkpoint.exists() and not resume:
        raise SettingsError(f"{checkpoint}: a run was stopped here; add --resume, or delete it")
    network = create_backbone(
        teacher, layers=layers.split(",") if layers else None, weights=weights
    )
    with progress_bar() as progress:
        pool = PicturePool(pictures or [], procedural=procedural, seed=seed, progress=progress)
    err = console(stderr=True)
    err.print(f"{sum(map(len, pool.groups))} pictures, {pool.bytes / 1e6:.0f} MB in memory")
    for name, why in list(pool.skipped.items())[:20]:
        err.print(f"  skipped {name}: {why}")
    run = Distillation(pool, network, settings, start=first)
    if resume and checkpoint.exists():
        run.resume(checkpoint)
        err.print(f"going on at step {run.step}")
    done = _train(run, checkpoint, minutes)
    write_weights(run, out, note=note)
    _tell(run, out, checkpoint)
    if not done:
        raise typer.Exit(UNFINISHED)
    checkpoint.unlink(missing_ok=True)


def _train(run: Distillation, checkpoint: Path, minutes: float | None) -> bool:
    """Whether the last step was reached; Ctrl-C stops like a spent budget."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    told = len(run.held_out)
    with progress_bar() as progress:

        def tell(stage: str, done: int, total: int) -> None:
            nonlocal told
            for step, error in run.held_out[told:]:
                console(stderr=True).print(f"step {step}, held-out error {error:.3f}")
            told = len(run.held_out)
            progress(stage, done, total)

        return run.run(until=until, progress=tell, checkpoint=checkpoint)


def _tell(run: Distillation, out: Path, checkpoint: Path) -> None:
    screen = console()
    error = f"{run.held_out[-1][1]:.3f}" if run.held_out else "not measured yet"
    screen.print(
        f"[bold]{out}[/bold]: pdn_{run.settings.size} after {run.step} of {run.settings.steps} "
        f"steps, held-out error {error} (1 = a constant guess)"
    )
    if run.step < run.settings.steps:
        screen.print(f"stopped early; {checkpoint} goes on with --resume")
