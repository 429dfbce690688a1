"""The data sets that have a reader, by name."""

from __future__ import annotations

from ultrasam.data.own import coco_file, paired_folders
from ultrasam.data.readers import RawDataset
from ultrasam.data.us43d.busi import BUSI
from ultrasam.data.us43d.hc18 import HC18
from ultrasam.data.us43d.stu_hospital import STU_HOSPITAL
from ultrasam.data.us43d.us_nerve import US_NERVE
from ultrasam.data.us43d.usgra_seg import USGRA_SEG
from ultrasam.errors import DataError

DATASETS: dict[str, RawDataset] = {
    d.name: d
    for d in (
        BUSI,
        HC18,
        STU_HOSPITAL,
        US_NERVE,
        USGRA_SEG,
        # Two of the 43 in the layouts in which third parties pass them on.
        paired_folders("DDTI_cropped"),
        paired_folders("CCAUI"),
        coco_file("MMOTU_2d_sample", "sample_coco_MMOTU2D.json", "sample_images"),
    )
}


def dataset(name: str) -> RawDataset:
    """The data set called ``name``.

    Raises:
        DataError: there is none of that name.
    """
    if name not in DATASETS:
        raise DataError(f"No data set is called '{name}'; there are {', '.join(sorted(DATASETS))}.")
    return DATASETS[name]
