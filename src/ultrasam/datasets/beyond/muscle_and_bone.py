"""Muscles and bones of the limbs and the back."""

from __future__ import annotations

from ultrasam.datasets.description import DatasetInfo, Download, bibtex

ROWS = (
    DatasetInfo(
        id="fshd_heckmatt",
        name="FSHD Heckmatt",
        url="https://data.mendeley.com/datasets/yzg86vb895/1",
        access="open",
        license="CC BY 4.0",
        organ="muscle",
        structures=("muscle",),
        kind="still",
        size="25,005 images of 290 people (110 with FSHD)",
        download=Download("mendeley", "yzg86vb895/1"),
        citation=bibtex(
            "misc",
            "fshdheckmatt",
            title="Machine Learning-Driven Heckmatt Grading in Facioscapulohumeral Muscular Dystrophy: A "
            "Novel Pathway for Musculoskeletal Ultrasound Analysis",
            year=2025,
            doi="10.17632/yzg86vb895.1",
        ),
    ),
    DatasetInfo(
        id="ultrabones100k",
        name="UltraBones100k",
        url="https://huggingface.co/datasets/luohwu/UltraBones100k",
        access="open",
        license="CC BY 4.0 (not verified)",
        organ="lower limb (cadavers)",
        structures=("bone_surface", "bone_shadow"),
        kind="cine",
        size="more than 100,000 frames of 14 specimens",
        annotation="lines",
        note="Labels were made automatically from CT.",
        citation=bibtex(
            "misc",
            "ultrabones100k",
            title="UltraBones100k: A reliable automated labeling method and large-scale dataset for "
            "ultrasound-based bone surface extraction",
            year=2025,
            eprint="2502.03783",
            archiveprefix="arXiv",
        ),
    ),
    DatasetInfo(
        id="ultrabones_hip",
        name="UltraBonesHip",
        url="https://huggingface.co/datasets/luohwu/UltraBonesHip",
        access="open",
        license="CC BY-NC 4.0",
        organ="femur and pelvis (cadavers)",
        structures=("bone_surface",),
        kind="cine",
        size="5 specimens",
        annotation="unknown",
        note="Surfaces come from CT; the frames are tracked.",
    ),
)
