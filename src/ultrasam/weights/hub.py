"""Save a model to a folder or to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ultrasam.errors import CheckpointError
from ultrasam.extras import needs
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.adapters import has_bottlenecks
from ultrasam.weights.files import write_checkpoint


def save_pretrained(model: UltraSam, folder: str | Path) -> Path:
    """Save a model to a folder that `ultrasam.load` opens.

    Writes ``model.safetensors``, with the configuration and preprocessing as metadata, and a model card to
    fill in, unless the folder has one.

    Raises:
        CheckpointError: The model has bottleneck adapters, which no configuration describes.
    """
    if has_bottlenecks(model):
        raise CheckpointError(
            "A model with bottleneck adapters cannot be saved as a complete model; use save_adaptation."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(model, folder / "model.safetensors")
    card = folder / "README.md"
    if not card.exists():
        card.write_text(_card(model), encoding="utf-8")
    return folder


def push_to_hub(model: UltraSam, repository: str, *, private: bool = False) -> str:
    """Upload a model to ``owner/name`` on the Hugging Face hub, as `save_pretrained` saves it.

    Returns:
        The URL of the repository.

    Raises:
        CheckpointError: The model has bottleneck adapters.
        MissingDependencyError: huggingface_hub is not installed.
    """
    with needs("Uploading to the Hugging Face hub", extra="hub"):
        from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        commit = api.upload_folder(repo_id=repository, folder_path=folder)
    return str(commit.repo_url)


def _card(model: UltraSam) -> str:
    return (
        "---\nlibrary_name: ultrasam\ntags:\n- ultrasound\n- segment-anything\n---\n\n"
        f"# UltraSam, `{model.config.name}`\n\n"
        "A Segment-Anything model for ultrasound. Describe its training data here.\n\n"
        "```python\nimport ultrasam\n\nmodel = ultrasam.load('PATH-OR-REPOSITORY')\n```\n"
    )
