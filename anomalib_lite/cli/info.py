"""`anomalib-lite info`: what a file says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from anomalib_lite.cli.common import console


def info(
    file: Annotated[Path, typer.Argument(help="Detector (.safetensors) or edge file (.onnx).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show detector, backbone, input, calibration, data and parity of a file."""
    document = describe(file)
    if as_json:
        typer.echo(json.dumps(document, indent=2, sort_keys=True))
        return
    screen = console()
    about, spec, calibration = document["about"], document["input_spec"], document["calibration"]
    lines = {
        "file": f"{file} ({document['kind']}, {document['size_bytes'] / 1e6:.1f} MB)",
        "detector": f"{about['detector']['name']} {_settings(about['detector']['settings'])}",
        **({"protocol": told} if (told := about["detector"].get("protocol")) else {}),
        "backbone": f"{about['backbone']['name']} ({', '.join(about['backbone']['layers'])})",
        "weights sha256": about["backbone"]["weights_sha256"],
        "input": _input(spec),
        "fitted on": f"{about['data']['images']} good images, "
        f"{len(about['data']['skipped'])} skipped (fingerprint "
        f"{about['data']['fingerprint'][:12]})",
        "threshold": f"{calibration['threshold']:.6g} ({calibration['method']})",
        "false rejects": f"at most {calibration['false_reject_rate']:.2%} promised from "
        f"{calibration['samples']} good images ({calibration['max_false_reject']:.2%} asked)",
        "says where": "yes" if document["localises"] else "no, one score per frame",
        "versions": ", ".join(f"{name} {v}" for name, v in sorted(about["versions"].items())),
    }
    if "parity" in about:
        parity = about["parity"]
        lines["parity"] = (
            f"scores within {parity['score_difference']:.1e}, maps within "
            f"{parity['map_difference']:.1e} of the fitted model on {parity['probes']} probes"
        )
    for name, value in lines.items():
        screen.print(f"[bold]{name:15}[/bold] {value}", markup=True)


def describe(file: Path) -> dict[str, Any]:
    """Everything a file says about itself, without pixels of probe frames."""
    if file.suffix == ".onnx":
        from anomalib_lite.edge.engines import OnnxRuntimeEngine
        from anomalib_lite.edge.metadata import EdgeMetadata

        metadata = EdgeMetadata.from_json(
            OnnxRuntimeEngine(file, threads=1).metadata, path=str(file)
        )
        document: dict[str, Any] = json.loads(metadata.to_json())
        document["probes"] = [
            {key: value for key, value in probe.items() if key != "png"}
            for probe in document["probes"]
        ]
        document["kind"] = "edge file"
    else:
        from anomalib_lite.edge.headers import read_header

        document = read_header(file)
        document["kind"] = "detector"
    document["size_bytes"] = file.stat().st_size
    return document


def _settings(settings: dict[str, Any]) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if value is not None)
    return f"({shown})" if shown else ""


def _input(spec: dict[str, Any]) -> str:
    limited = ", region of interest" if "roi" in spec else ""
    return f"{spec['height']}x{spec['width']} {spec['colour']}, {spec['bit_depth']} bits{limited}"
