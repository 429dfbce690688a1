"""The way in and out of files and of the Hugging Face hub, for the model as a whole."""

from __future__ import annotations

import warnings
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin

from ultrasam.errors import CheckpointError
from ultrasam.model.adapters import has_bottlenecks
from ultrasam.model.checkpoints import load_state, read_checkpoint, write_checkpoint
from ultrasam.model.downloads import PUBLISHED, fetch, fetch_hub, known_names

if TYPE_CHECKING:
    from ultrasam.model.config import ModelConfig


class HubMixin(ModelHubMixin):
    """``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` over our checkpoint format."""

    config: ModelConfig

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, name: str | Path, *, revision: str | None = None
    ) -> Self:
        """A model from a known name, a file, a folder, or a repository on the Hugging Face hub.

        Args:
            name: ``nano`` (in the package), ``base`` (UltraSam as published), ``sam-base``,
                ``sam-large``, ``sam-huge``, ``medsam``; a path; or ``owner/repository``.
            revision: of the hub's repository.

        Returns:
            The model in evaluation mode, in fp32, on the CPU.

        Raises:
            CheckpointError: not found, not downloadable, damaged, unsafe, or not a model of this kind.
        """
        path = _find(str(name), revision)
        config, state = read_checkpoint(path)
        model = cls(config)
        untrained = load_state(model, state, source=str(path))  # type: ignore[arg-type]
        if untrained:
            warnings.warn(
                f"{path} was trained without refinement: it has no weights for mask prompts, which "
                "are untrained here.",
                stacklevel=2,
            )
        return model.float().eval()  # type: ignore[attr-defined, no-any-return]

    def _save_pretrained(self, save_directory: Path) -> None:
        if has_bottlenecks(self):  # type: ignore[arg-type]
            raise CheckpointError(
                "A model with bottleneck adapters is not saved whole; use save_adaptation."
            )
        # The configuration travels in the weights' own metadata.
        write_checkpoint(self, self.config, save_directory / "model.safetensors")  # type: ignore[arg-type]

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        data = ModelCardData(library_name="ultrasam", tags=["ultrasound", "segment-anything"])
        text = (
            f"---\n{data.to_yaml()}\n---\n\n# UltraSam, `{self.config.name}`\n\n"
            "A Segment-Anything model for ultrasound. Say here what it was trained on.\n\n"
            "```python\nimport ultrasam\n\nmodel = ultrasam.load('this folder or repository')\n```\n"
        )
        return ModelCard(text)


def _find(name: str, revision: str | None) -> Path:
    if name == "nano":
        path = Path(str(files("ultrasam.model") / "weights" / "nano.safetensors"))
        if not path.exists():
            raise CheckpointError("This installation lacks nano's weights; install UltraSam again.")
        return path
    if name in PUBLISHED:
        return fetch(name)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name.count("/") == 1 and not path.suffix and not name.startswith((".", "/", "~")):
        return fetch_hub(name, revision=revision)
    raise CheckpointError(
        f"'{name}' is neither a file nor a model that is known here ({', '.join(known_names())})."
    )
