"""The name, model card and license that go with weights wherever they are copied."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ultrasam.weights.registry import REGISTRY
from ultrasam.weights.spec import ModelSpec

_TEXTS = {"CC-BY-NC-SA-4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode"}
_CARD, _LICENSES = "README.md", ("LICENSE", "LICENSE.txt", "LICENSE.md")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of weights.

    Attributes:
        name: of the model.
        license: SPDX identifier, or None if the source states none.
        description: the text of the model card; a few lines say the name and license, if it is empty.
        full_license: the license's text, if the source has it.
    """

    name: str
    license: str | None = None
    description: str = ""
    full_license: str = ""

    def text(self) -> str:
        """The model card, as Markdown."""
        if self.description:
            return self.description
        known = f"License: {self.license}." if self.license else "The license is not stated."
        return f"# {self.name}\n\nA Segment-Anything model, exported by UltraSam. {known}\n"

    def license_text(self) -> str:
        """The license, or where it is, or that it is not known."""
        if self.full_license:
            return self.full_license
        if self.license == "Apache-2.0":
            return (files("ultrasam.weights") / "nano" / "LICENSE").read_text(encoding="utf-8")
        if self.license in _TEXTS:
            return f"The weights of {self.name} are under {self.license}: {_TEXTS[self.license]}\n"
        return (
            f"The license of the weights of {self.name} is not stated where they come from. Ask those who "
            "trained them before you use or share them.\n"
        )


def card_of(spec: ModelSpec) -> ModelCard:
    """The card of a model by name: of registered weights from the registry, of a path from the files beside
    it."""
    if spec.kind == "registered":
        entry = REGISTRY[spec.name]
        if spec.name == "nano":
            card = (files("ultrasam.weights") / "nano" / _CARD).read_text(encoding="utf-8")
        else:
            card = (
                f"# {entry.name}\n\n{entry.description[0].upper()}{entry.description[1:]}. Trained on "
                f"{entry.trained_on}. License: {entry.license}. Source: {entry.url or entry.repository}.\n"
            )
        return ModelCard(entry.name, entry.license, card)
    if spec.kind != "path":
        return ModelCard(spec.text)
    folder = spec.path if spec.path.is_dir() else spec.path.parent
    texts = [_read(folder / name) for name in _LICENSES]
    license_text = next((text for text in texts if text), "")
    card = _read(folder / _CARD) if spec.path.is_dir() else ""
    return ModelCard(spec.path.resolve().stem, None, card, license_text)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
