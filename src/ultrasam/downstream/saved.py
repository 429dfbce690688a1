"""What a folder of a fine-tuned model holds, told without loading it."""

from __future__ import annotations

from pathlib import Path

CARD, PROMPTED_CARD = "classifier.json", "prompted.json"


def is_classifier(folder: Path) -> bool:
    """Whether `ultrasam.downstream.classifier.save_classifier` wrote here."""
    return (folder / CARD).is_file()


def is_prompted(folder: Path) -> bool:
    """Whether `ultrasam.downstream.prompted.save_prompted` wrote here."""
    return (folder / PROMPTED_CARD).is_file()
