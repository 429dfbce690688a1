"""What `ultrasam` prints without a command: what people come for, an example each."""

from __future__ import annotations

from ultrasam._version import __version__

# Headings, and under each what a person wants with the command that does it.
TASKS: dict[str, tuple[tuple[str, str], ...]] = {
    "Segment": (
        ("an image, from a box", "ultrasam predict scan.png --box 120,80,260,190"),
        ("a frame of a cine, from a click", "ultrasam predict cine.mp4 --frame 12 --point 200,140"),
        ("a whole cine, from a box", "ultrasam track cine.mp4 --box 120,80,260,190"),
        ("a folder of images", "ultrasam predict images/ --prompts prompts.json"),
        ("by hand and by clicks, in a browser", "ultrasam annotate images/"),
        ("over HTTP", "ultrasam serve"),
        ("with another model", "ultrasam models"),
        ("without PyTorch", "ultrasam export nano --to onnx"),
        ("as fast as this machine can", "ultrasam benchmark nano"),
        ("from a hospital's archive", "ultrasam dicomweb search https://pacs/dicom-web"),
    ),
    "Measure": (
        ("a fetal head, in mm", "ultrasam measure head.dcm --kind head --box 90,60,520,380"),
        ("what a mask outlines", "ultrasam measure scan.png --mask mask.png --pixel-size 0.12"),
        (
            "an ejection fraction",
            "ultrasam measure apical.dcm --kind ejection-fraction --box 210,80,420,400",
        ),
    ),
    "Fine-tune on your own images": (
        ("to segment from prompts", "ultrasam finetune promptable --data my/"),
        ("to classify images", "ultrasam finetune classify --data classes/"),
        ("to segment without prompts", "ultrasam finetune instances --data my/"),
    ),
    "Work with data sets": (
        ("see what is published", "ultrasam data list"),
        ("build a store from downloads", "ultrasam data build raw/ --out store"),
        (
            "add your own images to it",
            "ultrasam data import my/ --format masks --name mine --out store",
        ),
    ),
    "Train and evaluate": (
        ("compare models", "ultrasam evaluate nano ellipse --data store"),
        ("train from a recipe", "ultrasam train nano --dry-run"),
        ("see the recipes", "ultrasam recipes list"),
        ("extract features", "ultrasam embed images/"),
    ),
}


def overview() -> str:
    """The text, in lines of at most 110 characters."""
    width = max(len(want) for rows in TASKS.values() for want, _ in rows)
    lines = [
        f"UltraSam {__version__}: segment anything in an ultrasound image from a click or a box."
    ]
    for heading, rows in TASKS.items():
        lines += ["", heading, *(f"  {want:<{width}}  {command}" for want, command in rows)]
    lines += ["", "All commands: ultrasam --help. One of them: ultrasam COMMAND --help."]
    return "\n".join(lines)
