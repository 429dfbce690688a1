"""`ultrasam models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ultrasam.cli.options import Json
from ultrasam.cli.tables import print_table


def models(as_json: Json = False) -> None:
    """List the named models, and which of them are on this disk.

    Every command that takes a MODEL accepts these names with options: MODEL+bf16, MODEL+refine, MODEL+no-tta,
    MODEL+onnx, MODEL+openvino, MODEL+preprocessing=NAME. It also accepts random:SIZE, imagenet, the path of a
    checkpoint or of an exported folder, and a Hugging Face repository.
    """
    from ultrasam.weights.cache import cached_file
    from ultrasam.weights.registry import PREPROCESSING, REGISTRY

    rows: list[dict[str, Any]] = []
    for entry in REGISTRY.values():
        file: Path | str | None = "in the package" if entry.name == "nano" else cached_file(entry)
        rows.append(
            {
                "name": entry.name,
                "description": entry.description,
                "architecture": entry.architecture,
                "trained_on": entry.trained_on,
                "prompts": list(entry.prompt_types),
                "preprocessing": PREPROCESSING[entry.preprocessing].to_dict(),
                "license": entry.license,
                "source": entry.url or entry.repository,
                "sha256": entry.sha256 or "unknown",
                "on_disk": None if file is None else str(file),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    cells = [
        (
            row["name"], row["architecture"], ", ".join(row["prompts"]), row["license"],
            row["on_disk"] or "no", row["trained_on"],
        )
        for row in rows
    ]  # fmt: skip
    heads = ("name", "size", "prompts", "license", "on disk", "trained on")
    print_table(heads, cells, whole={"name"})
    print(
        "Other models are downloaded when first used. Also: random:nano|vit-b|vit-l|vit-h, imagenet, a path, "
        "or owner/repository on the Hugging Face hub."
    )
