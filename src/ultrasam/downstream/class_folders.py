"""A folder with one subfolder per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ultrasam.datasets.split_names import split_of
from ultrasam.downstream.class_files import ClassFile, ClassImages, readable
from ultrasam.images.mask_names import split_masks

_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db"}


def read_class_folders(root: Path) -> ClassImages | None:
    """The images in the folders of their classes, at any depth; None if there are fewer than two classes.

    Masks beside the images, or in a folder such as ``masks``, are left out; so are files that are not images.
    If all subfolders are named after splits, as in ``train/benign``, the folders in them are the classes. A
    folder below that of the class, such as a patient's, is taken for a subject: its images stay together.
    """
    files = sorted(_files(root), key=lambda path: path.relative_to(root).as_posix())
    images, masks = split_masks(files)
    found = [_labeled(path, root, by_split=_is_by_split(root)) for path in images]
    labeled = [file for file in found if file.label]
    if len({file.label for file in labeled}) < 2:
        return None
    read = readable(labeled)
    left_out = [f"{file.name}: not in the folder of a class" for file in found if not file.label]
    if masks:
        example = masks[0].relative_to(root).as_posix()
        left_out.append(f"{len(masks):,} masks, such as {example}")
    return replace(read, left_out=(*read.left_out, *left_out))


def _files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts)
        if not hidden and path.name.casefold() not in _SYSTEM_FILES and path.is_file():
            yield path


def _is_by_split(root: Path) -> bool:
    folders = [p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return bool(folders) and all(split_of(name) for name in folders)


def _labeled(path: Path, root: Path, *, by_split: bool) -> ClassFile:
    """A file with its class, which is empty for a file in no class's folder."""
    name = path.relative_to(root).as_posix()
    *folders, _ = path.relative_to(root).parts
    split = split_of(folders.pop(0)) if by_split and folders else None
    label = folders.pop(0) if folders else ""
    below = [folder for folder in folders if split_of(folder) is None]
    return ClassFile(path, name, label, "/".join((label, *below)) if below else None, split)
