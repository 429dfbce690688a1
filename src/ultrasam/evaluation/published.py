"""Results of others to show beside ours: only figures that could be read, each with where it stands.

All are fractions (0 to 1) and were measured on other images, splits and prompts than ours. The tables of the
paper (arXiv 2411.16222) could not be read anywhere, so none of its figures is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ultrasam.evaluation.metrics.average_precision import AveragePrecision


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One figure.

    Attributes:
        dataset: id in the catalog; for a data set that is not in it, or that the source does not tell with
            certainty, the source's name.
        prompt: a prompt type of ours (see `PromptKind`) where one is meant, else in words.
        metric: ``Dice``, ``IoU`` or ``F1``.
        value: in 0–1.
        source: repository and file, or paper.
        note: what the figure must not be taken for; may be empty.
    """

    model: str
    dataset: str
    prompt: str
    metric: str
    value: float
    source: str
    note: str = ""


# The published checkpoint on the ten MMOTU-2D images of its repository's sample, by prompt type and what COCO
# compares: the README's example (refinement on, boxes not moved, clicks at the center of mass), as logged in
# 2026-03 under models/external/UltraSam/work_dir/readme_{box,point}_eval_cpu. No object is small.
PARITY_SOURCE = "ntqduy/SAM-Noisy-Medical, readme_{box,point}_eval_cpu (2026-03)"
PARITY: Mapping[tuple[str, str], AveragePrecision] = {
    ("box", "segm"): AveragePrecision(0.752, 1.000, 0.871, medium=0.601, large=0.793),
    ("box", "bbox"): AveragePrecision(0.861, 1.000, 1.000, medium=0.850, large=0.869),
    ("point", "segm"): AveragePrecision(0.380, 0.657, 0.448, medium=0.101, large=0.448),
    ("point", "bbox"): AveragePrecision(0.390, 0.802, 0.448, medium=0.101, large=0.459),
}

_SEEN = "images partly trained on: an upper bound"
_TABLE = "MXHsj/us_multi_anatomy_seg, analysis/tables/results_table.md"
_SUMMARY = "MXHsj/us_multi_anatomy_seg, summary.json"
_ROBUSTNESS = "MXHsj/us_multi_anatomy_seg, analysis/figures/prompt_robustness"
_CLICKS = "Autzoko/UltraRefiner"
_SAM = "mazurowski-lab/segment-anything-medical-evaluation, experimental_results_tables"
_GL261 = "GL261 mouse tumor benchmark"

# Whole sets, one box per component of the truth. RobLUS shows the pleura.
_SETS = ("bus_bra", "gist514", "mmotu_2d", "tnscui", "ultrabones100k", "UMUD", "RobLUS")
_WHOLE_SETS = (
    ("UltraSam", "box", (0.9393, 0.9250, 0.9434, 0.9364, 0.9029, 0.7523, 0.5727)),
    ("UltraSam", "point", (0.9078, 0.8692, 0.8802, 0.8874, 0.6960, 0.7294, 0.0145)),
    ("UltraSam", "box+point", (0.9259, 0.8941, 0.9236, 0.9187, 0.8306, 0.7367, 0.0212)),
    ("MedSAM", "box", (0.9205, 0.8384, 0.9031, 0.9307, 0.3600, 0.5369, 0.6018)),
    ("SAMUS", "box", (0.7757, 0.1983, 0.7284, 0.7620, 0.2312, 0.1049, 0.0368)),
    ("MedSAM-3", "text and box", (0.8836, 0.6553, 0.8275, 0.8241, 0.3024, 0.1135, 0.6679)),
)
_FURTHER = (
    ("UltraSam", "busi", "box", 0.924, _SEEN),
    ("UltraSam", "aul", "box", 0.921, f"mass; {_SEEN}"),
    ("UltraSam", "us_nerve", "box", 0.922, _SEEN),
    ("UltraSam", "kidney_us", "box", 0.954, f"capsule; {_SEEN}"),
    ("UltraSam", "breast_lesions_usg", "box", 0.921, _SEEN),
    ("UltraSam", "camus", "box", 0.90, f"two runs disagree; {_SEEN}"),
    ("UltraSam", "camus", "box", 0.95, f"two runs disagree; {_SEEN}"),
    ("UltraSam", "busi", "point", 0.860, _SEEN),
    ("UltraSam", "camus", "point", 0.947, f"left ventricle; {_SEEN}"),
    ("UltraSam", "camus", "point", 0.922, f"left atrium; {_SEEN}"),
    ("MedSAM", "busi", "box", 0.927, "first 100 images"),
    ("MedSAM", "aul", "box", 0.815, "mass"),
    ("MedSAM", "us_nerve", "box", 0.918, ""),
    ("MedSAM", "busi", "box predicted from one click", 0.89, ""),
)

# The published model with imprecise boxes, on the first 100 images of each set.
_CHANGES = (
    "box", "box-scaled85", "box-scaled95", "box-scaled105", "box-scaled115",
    "box-shifted5", "box-shifted10", "box-shifted15",
)  # fmt: skip
_CHANGED = {
    "bus_bra": (0.936, 0.905, 0.936, 0.928, 0.912, 0.927, 0.896, 0.837),
    "busi": (0.939, 0.914, 0.940, 0.933, 0.912, 0.931, 0.904, 0.849),
    "mmotu_2d": (0.951, 0.905, 0.946, 0.949, 0.933, 0.945, 0.906, 0.834),
    "gist514": (0.928, 0.902, 0.929, 0.919, 0.886, 0.916, 0.881, 0.816),
    "tnscui": (0.946, 0.896, 0.942, 0.943, 0.926, 0.936, 0.900, 0.831),
    "us_nerve": (0.926, 0.865, 0.918, 0.914, 0.864, 0.900, 0.842, 0.775),
    "aul": (0.910, 0.894, 0.919, 0.892, 0.844, 0.893, 0.852, 0.797),
}
_NOISY_CLICKS = (
    ("point", 0.853), ("point-noise5", 0.852), ("point-noise10", 0.851), ("point-noise20", 0.838),
    ("point-noise30", 0.797), ("point-noise50", 0.716), ("a click outside the lesion", 0.20),
)  # fmt: skip

# SAM ViT-H by IoU: a click, the best of its masks; a box, the best of its masks; and after nine clicks SAM,
# then networks trained with clicks. The source does not tell which published data sets these are.
_SAM_PROMPTS = (
    "one click",
    "one click, best of its masks",
    "one box",
    "one box, best of its masks",
)
_SAM_ONE_PROMPT = {
    "US-Breast": (0.4712, 0.6188, 0.6411, 0.7791),
    "US-Kidney": (0.5531, 0.6844, 0.7718, 0.8661),
    "US-Nerve": (0.1262, 0.1470, 0.2329, 0.5437),
    "US-Muscle": (0.1773, 0.3060, 0.2134, 0.7724),
    "US-Variantumor": (0.3398, 0.4574, 0.4634, 0.7191),
}
_NETWORKS = ("SAM ViT-H", "RITM", "FocalClick", "SimpleClick")
_NINE_CLICKS = {
    "US-Breast": (0.5971, 0.9082, 0.8783, 0.9049),
    "US-Kidney": (0.6059, 0.9330, 0.8662, 0.9055),
    "US-Nerve": (0.4826, 0.7782, 0.8319, 0.8166),
    "US-Muscle": (0.4788, 0.8137, 0.8355, 0.7850),
    "US-Variantumor": (0.6407, 0.9092, 0.8946, 0.9146),
}

# Networks trained on, or from, the models: no prompt but SAMUS's.
_TUMORS = (
    ("UltraSam + Mask2Former", 0.837, "with further training data"),
    ("UltraSam + Mask2Former", 0.813, ""),
    ("U-Net ConvNeXt", 0.748, ""),
    ("UltraSam + FPN", 0.742, ""),
    ("SAMUS", 0.720, "false masks on 105 of 106 images without a tumor"),
    ("USFM", 0.668, ""),
    ("nnU-Net", 0.652, ""),
)
_CLASSES = (("bus_bra", 0.816), ("mmotu_2d", 0.796), ("gist514", 0.824))


def _prompted() -> Iterator[PublishedResult]:
    for model, prompt, values in _WHOLE_SETS:
        for number, (dataset, value) in enumerate(zip(_SETS, values, strict=True)):
            note = "trained with clicks" if model == "SAMUS" else ""
            note = _SEEN if model == "UltraSam" and number < 4 else note
            yield PublishedResult(model, dataset, prompt, "Dice", value, _TABLE, note)
    for model, dataset, prompt, value, note in _FURTHER:
        source = "arXiv 2606.04705" if "predicted" in prompt else _SUMMARY
        yield PublishedResult(model, dataset, prompt, "Dice", value, source, note)


def _robustness() -> Iterator[PublishedResult]:
    for dataset, values in _CHANGED.items():
        number = "39" if dataset == "us_nerve" else "first 100"
        note = f"{number} images; {_SEEN}"
        for prompt, value in zip(_CHANGES, values, strict=True):
            yield PublishedResult("UltraSam", dataset, prompt, "Dice", value, _ROBUSTNESS, note)
    for prompt, value in _NOISY_CLICKS:
        yield PublishedResult("UltraSam", "busi", prompt, "Dice", value, _CLICKS, _SEEN)


def _generic_sam() -> Iterator[PublishedResult]:
    for dataset, values in _SAM_ONE_PROMPT.items():
        for prompt, value in zip(_SAM_PROMPTS, values, strict=True):
            source = f"{_SAM}, Fig2"
            yield PublishedResult("SAM ViT-H", dataset, prompt, "IoU", value, source)
    for dataset, values in _NINE_CLICKS.items():
        for model, value in zip(_NETWORKS, values, strict=True):
            source = f"{_SAM}, fig34"
            yield PublishedResult(model, dataset, "nine clicks", "IoU", value, source)


def _initializations() -> Iterator[PublishedResult]:
    for model, value, note in _TUMORS:
        note = "; ".join(part for part in ("images with a tumor, split by animal", note) if part)
        yield PublishedResult(model, "gl261", "no prompt", "Dice", value, _GL261, note)
    for dataset, value in _CLASSES:
        note = "image classification"
        yield PublishedResult("USF-MAE", dataset, "no prompt", "F1", value, "USF-MAE", note)


ROBUSTNESS: tuple[PublishedResult, ...] = tuple(_robustness())
GENERIC_SAM: tuple[PublishedResult, ...] = tuple(_generic_sam())
INITIALIZATIONS: tuple[PublishedResult, ...] = tuple(_initializations())
PUBLISHED: tuple[PublishedResult, ...] = tuple(_prompted())


def published_results(datasets: Iterable[str]) -> Sequence[PublishedResult]:
    """What others measured on these data sets with precise prompts, by data set, prompt and model."""
    return _of(PUBLISHED, datasets)


def published_robustness(datasets: Iterable[str]) -> Sequence[PublishedResult]:
    """What others measured on these data sets with imprecise prompts; ``box`` and ``point`` are precise."""
    return _of(ROBUSTNESS, datasets)


def _of(results: Sequence[PublishedResult], datasets: Iterable[str]) -> list[PublishedResult]:
    wanted = set(datasets)
    chosen = [result for result in results if result.dataset in wanted]
    return sorted(chosen, key=lambda result: result.dataset)  # the order within a set stays
