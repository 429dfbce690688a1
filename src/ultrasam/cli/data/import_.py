"""`ultrasam data import`: custom data sets into a store."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.data.build import OutStore, run_build
from ultrasam.cli.data.packages import require_packages
from ultrasam.cli.options import PixelSize, Workers
from ultrasam.errors import DataError

if TYPE_CHECKING:
    from ultrasam.datasets.description import DatasetSpec
    from ultrasam.store.index import BuildSettings

logger = logging.getLogger(__name__)


class ImportFormat(StrEnum):
    """Annotations of your own."""

    masks = "masks"
    coco = "coco"
    labelme = "labelme"
    via = "via"
    cvat = "cvat"
    labelstudio = "labelstudio"


_WITH_ATTRIBUTES = (ImportFormat.coco, ImportFormat.via, ImportFormat.cvat)


def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder with images and annotations.")
    ],
    out: OutStore,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the data set in the store: a-z, 0-9 and _.")
    ],
    format_: Annotated[
        ImportFormat,
        typer.Option(
            "--format",
            help="How they are annotated; masks: images/x.png with masks/x.png or masks/STRUCTURE/x.png, or "
            "x.png with x_mask.png; cvat: XML of 'CVAT for images 1.1'; labelstudio: JSON or JSON-MIN.",
        ),
    ],
    structure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="the name of the data set",
            help="What the masks show; format masks, without a folder for each structure.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE=NAME,…",
            help="What the values or colors of the masks show, for example 1=cyst,2=wall or '#ff0000=cyst'; "
            "255=ignore for a region to ignore; format masks.",
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Finds the patient in the path of each image, for example '^(p[0-9]+)_', so that a patient "
            "is in one split only.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split-from",
            metavar="REGEX",
            help="Finds train, val or test in the path of each image, for example '(train|val|test)/'.",
        ),
    ] = None,
    pixel_size: PixelSize = None,
    attribute: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="coco: the category; cvat: the label; via: the only one, or one named like 'type'",
            help="The attribute that names the structure; formats coco, cvat and via.",
        ),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="TEXT",
            show_default="as imported before, or as published",
            help="The license of the images and annotations, for example 'CC BY 4.0'; 'ultrasam data "
            "licenses' lists what it allows.",
        ),
    ] = None,
    workers: Workers = 2,
) -> None:
    """Add your own annotated images to a store."""  # fmt: skip
    require_packages()
    if not re.fullmatch(r"[a-z0-9_]{1,40}", name):
        raise DataError(f"'{name}' is not a name for a data set; use a-z, 0-9 and _.")
    if structure is not None and format_ != ImportFormat.masks:
        raise DataError(
            f"--structure applies to --format masks; {format_.value} files name structures."
        )
    if labels is not None and format_ != ImportFormat.masks:
        raise DataError(
            f"--labels applies to --format masks; {format_.value} files name structures."
        )
    if labels is not None and structure is not None:
        raise DataError("Give --labels or --structure, not both.")
    if attribute is not None and format_ not in _WITH_ATTRIBUTES:
        raise DataError(
            f"--attribute applies to --format {', '.join(_WITH_ATTRIBUTES)}; {format_.value} files have no "
            "attributes."
        )
    if not folder.is_dir():
        raise DataError(f"The folder {folder} does not exist.")
    checks.check_output(out)
    from ultrasam.datasets import custom
    from ultrasam.datasets.catalogue import facts as published
    from ultrasam.datasets.catalogue import has_reader

    if name in published() and has_reader(published()[name]):
        raise DataError(f"'{name}' is a published data set; choose another --name.")
    from ultrasam.datasets.metadata import parse_pixel_size, with_metadata
    from ultrasam.datasets.readers.mask_labels import parse_labels

    names = None if labels is None else parse_labels(labels)
    size = None if pixel_size is None else parse_pixel_size(pixel_size)
    readers = {
        ImportFormat.masks: lambda: custom.image_mask_folder(
            name, structure=structure, labels=names
        ),
        ImportFormat.coco: lambda: custom.coco_file(name, attribute=attribute),
        ImportFormat.labelme: lambda: custom.labelme_files(name),
        ImportFormat.via: lambda: custom.via_files(name, attribute=attribute),
        ImportFormat.cvat: lambda: custom.cvat_files(name, attribute=attribute),
        ImportFormat.labelstudio: lambda: custom.labelstudio_files(name),
    }
    spec = with_metadata(readers[format_](), subject=subject, split=split, pixel_size=size)
    spec = _with_facts(spec, out, license_)
    run_build([(spec, folder)], out, _settings_of(out), frozenset(), workers)


def _with_facts(spec: DatasetSpec, store: Path, license_text: str | None) -> DatasetSpec:
    """A custom data set with its license, and with what the catalog knows of a data set of this id.

    The license is the one given, else that of an earlier import into the store, else the catalog's.
    """
    from ultrasam.datasets.catalogue import facts
    from ultrasam.datasets.description import UNKNOWN
    from ultrasam.datasets.licenses import terms
    from ultrasam.store.store import Store

    info, row = spec.info, facts().get(spec.info.id)
    if row is not None:
        logger.info(
            "%s is recorded as the published data set %s; if it is another, choose another --name.",
            info.id, row.name,
        )  # fmt: skip
        info = replace(info, name=row.name, url=row.url, license=row.license, citation=row.citation)
    before = UNKNOWN
    if (store / "manifest.json").exists():
        before = Store(store).manifest["datasets"].get(info.id, {}).get("license", UNKNOWN)
    if license_text is not None:
        info = replace(info, license=license_text.strip() or UNKNOWN)
    elif before != UNKNOWN:
        info = replace(info, license=before)
    if info.license != UNKNOWN:
        logger.info(
            "%s: license %s: %s.",
            info.id,
            info.license,
            terms(info.license, row.access if row is not None else UNKNOWN),
        )
    return replace(spec, info=info)


def _settings_of(store: Path) -> BuildSettings:
    """The settings of the last build of a store, so that adding to it changes no split."""
    from ultrasam.store.index import BuildSettings
    from ultrasam.store.store import Store

    if not (store / "manifest.json").exists():
        return BuildSettings()
    return BuildSettings.from_manifest(Store(store).manifest)
