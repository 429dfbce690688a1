"""Abdomen."""

from __future__ import annotations

from ultrasam.datasets.description import DatasetInfo, bibtex

ROWS = (
    DatasetInfo(
        id="normal_kidney",
        name="Ultrasound Normal Kidney",
        url="https://universe.roboflow.com/jeevaws/ultrasound-normal-kidney-image",
        access="open",
        license="CC BY 4.0 (provenance unknown)",
        organ="abdomen",
        structures=("kidney", "liver", "spleen"),
        kind="still",
        size="1,080 images",
        note="Polygons. Neither where the images come from nor how many patients they show is stated.",
    ),
    DatasetInfo(
        id="gbcu",
        name="GBCU",
        url="https://gbc-iitd.github.io/data/gbcu",
        access="agreement",
        license="GBCU license agreement",
        organ="gallbladder",
        structures=("gallbladder", "gallbladder_pathology"),
        kind="still",
        size="1,255 images of 218 patients",
        annotation="boxes",
        note="Only permanent employees of an institution may apply.",
        citation=bibtex(
            "inproceedings",
            "gbcu",
            title="Surpassing the Human Accuracy: Detecting Gallbladder Cancer From USG Images With "
            "Curriculum Learning",
            booktitle="CVPR",
            year=2022,
            doi="10.1109/CVPR52688.2022.02022",
        ),
    ),
    DatasetInfo(
        id="trusted",
        name="TRUSTED",
        url="https://doi.org/10.6084/m9.figshare.27981050.v1",
        access="unknown",
        license="data use agreement; CC BY 4.0 (not verified)",
        organ="kidney",
        structures=("kidney",),
        kind="volume",
        size="96 kidneys of 48 patients",
        note="With CT. Two raters, and their consensus. Sources differ on whether an agreement is needed.",
        citation=bibtex(
            "article", "trusted", journal="Scientific Data", doi="10.1038/s41597-025-04467-1"
        ),
    ),
)
