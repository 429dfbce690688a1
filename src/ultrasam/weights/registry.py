"""The registry of named weights: description, source, license and preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation

_META = "https://dl.fbaipublicfiles.com/segment_anything/"

# The preprocessing that weights were trained with. Select one for any checkpoint by
# "PATH+preprocessing=medsam".
PREPROCESSING: dict[str, Preprocessor] = {
    "nano": Preprocessor(size=256, resample="area", channels="gray"),
    "sam": Preprocessor(resample="bilinear-antialias"),
    "ultrasam": Preprocessor(resample="bilinear"),
    "medsam": Preprocessor(
        resize="stretch", resample="bicubic-antialias", scale="min-max", prompt_types=("box",)
    ),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """Named weights.

    Attributes:
        name: the name that ``load`` takes.
        description: a short noun phrase.
        architecture: a key of `ultrasam.model.config.CONFIGS`.
        license: SPDX identifier, if the source states one.
        trained_on: the training data.
        preprocessing: a key of ``PREPROCESSING``.
        url, repository: the file's URL, or a Hugging Face repository; both are None for weights in the
            package.
        num_bytes, sha256: size and checksum of the file; None if unknown.
    """

    name: str
    description: str
    architecture: str
    license: str
    trained_on: str
    preprocessing: str
    url: str | None = None
    repository: str | None = None
    num_bytes: int | None = None
    sha256: str | None = None

    @property
    def prompt_types(self) -> tuple[str, ...]:
        """The prompt types that the weights accept."""
        return PREPROCESSING[self.preprocessing].prompt_types


REGISTRY: dict[str, Weights] = {
    entry.name: entry
    for entry in (
        Weights(
            "nano",
            "a small model, included in the package",
            "nano",
            "Apache-2.0",
            "phantoms, and parts of BUSI, BUS-UCLM, CCAUI, DL_Track, HC18 and USGRA-seg",
            "nano",
        ),
        Weights(
            "ultrasam",
            "UltraSam ViT-B, as published with the paper",
            "vit-b",
            "CC-BY-NC-SA-4.0",
            "US-43d (arXiv 2411.16222)",
            "ultrasam",
            url="https://s3.unistra.fr/camma_public/github/ultrasam/UltraSam.pth",
        ),
        Weights(
            "sam-vit-b",
            "Meta's SAM ViT-B",
            "vit-b",
            "Apache-2.0",
            "SA-1B (Kirillov et al. 2023)",
            "sam",
            url=_META + "sam_vit_b_01ec64.pth",
            num_bytes=375042383,
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        Weights(
            "sam-vit-l",
            "Meta's SAM ViT-L",
            "vit-l",
            "Apache-2.0",
            "SA-1B (Kirillov et al. 2023)",
            "sam",
            url=_META + "sam_vit_l_0b3195.pth",
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        Weights(
            "sam-vit-h",
            "Meta's SAM ViT-H",
            "vit-h",
            "Apache-2.0",
            "SA-1B (Kirillov et al. 2023)",
            "sam",
            url=_META + "sam_vit_h_4b8939.pth",
            num_bytes=2564550879,
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
        Weights(
            "medsam",
            "MedSAM ViT-B, boxes only",
            "vit-b",
            "Apache-2.0",
            "1.57 million medical images of ten modalities (Ma et al. 2024)",
            "medsam",
            repository="wanglab/medsam-vit-base",
        ),
    )
}

# Earlier names of weights.
ALIASES = {
    "base": "ultrasam",
    "sam": "sam-vit-b",
    "sam-base": "sam-vit-b",
    "sam-large": "sam-vit-l",
    "sam-huge": "sam-vit-h",
}

TTA: dict[str, TestTimeAugmentation] = {"nano": TestTimeAugmentation(zoom=1.6, flip=True)}


def known_names() -> list[str]:
    """The names that ``load`` takes."""
    return list(REGISTRY)
