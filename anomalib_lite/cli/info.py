"""`anomalib-lite info`: what a file says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from anomalib_lite.cli.common import console
from anomalib_lite.cli.options import AsJson, ModelFile


def info(
    file: ModelFile,
    as_json: AsJson = False,
) -> None:
    """Show detector, backbone, input, calibration, data and parity of a file."""
    from rich.markup import escape

    from anomalib_lite.edge.describe import describe_file
    from anomalib_lite.edge.files import sha256_file

    document = {**describe_file(file), "sha256": sha256_file(file)}
    if as_json:
        typer.echo(json.dumps(document, indent=2, sort_keys=True))
        return
    screen = console()
    for name, value in _lines(file, document).items():
        screen.print(f"[bold]{name:15}[/bold] {escape(value)}")


def _lines(file: Path, document: dict[str, Any]) -> dict[str, str]:
    about, spec, calibration = document["about"], document["input_spec"], document["calibration"]
    shown = {
        "file": f"{file} ({document['kind']}, {document['size_bytes'] / 1e6:.1f} MB)",
        "sha256": document["sha256"],
        "detector": f"{about['detector']['name']} {_settings(about['detector']['settings'])}",
        **({"protocol": told} if (told := about["detector"].get("protocol")) else {}),
        "backbone": f"{about['backbone']['name']} ({', '.join(about['backbone']['layers'])})",
        "weights sha256": about["backbone"]["weights_sha256"],
        "input": _input(spec),
        **_seen(spec, about["data"].get("frame_hw")),
        "fitted on": f"{about['data']['images']} good images, "
        f"{len(about['data']['skipped'])} skipped (fingerprint "
        f"{about['data']['fingerprint'][:12]})",
        "threshold": f"{calibration['threshold']:.6g} ({calibration['method']})",
        "false rejects": calibration["promise"],
        "says where": "yes" if document["localises"] else "no, one score per frame",
        "versions": ", ".join(f"{name} {v}" for name, v in sorted(about["versions"].items())),
    }
    if "parity" in about:
        parity = about["parity"]
        shown["parity"] = (
            f"scores within {parity['score_difference']:.1e}, maps within "
            f"{parity['map_difference']:.1e} of the fitted model on {parity['probes']} probes"
        )
    for row in about.get("pod", {}).get("families", []):
        contrast = "" if row["contrast"] is None else f", contrast {row['contrast']:g}"
        shown[f"{row['kind']}{contrast}"] = f"simulated: {row['words']}"
    return shown


def _seen(spec: dict[str, Any], frame_hw: list[int] | None) -> dict[str, str]:
    """What of a fitted frame the model sees."""
    from anomalib_lite.cli.visible import visible
    from anomalib_lite.edge.prepare import InputSpec

    if not frame_hw or min(frame_hw) < 1:
        return {}
    lines = visible(InputSpec.from_dict(spec), (frame_hw[0], frame_hw[1]))
    return {"sees": "; ".join(lines)} if lines else {}


def _settings(settings: dict[str, Any]) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if value is not None)
    return f"({shown})" if shown else ""


def _input(spec: dict[str, Any]) -> str:
    limited = ", region of interest" if "roi" in spec else ""
    return f"{spec['height']}x{spec['width']} {spec['colour']}, {spec['bit_depth']} bits{limited}"
