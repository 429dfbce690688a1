"""Tell masks from images, and pair them, by the names of files and folders alone.

A mask is in a folder such as ``masks`` or ``labels`` at the path of its image, or beside its image under a
name such as ``x_mask.png``. A file that is only named like a mask is an image, unless an image belongs to it
or to others of its kind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ultrasam.images.mask_meanings import (
    GAP,
    IMAGE_WORDS,
    MASK_WORDS,
    Meaning,
    beginnings,
    longer_meanings,
    meanings,
    short_name,
)
from ultrasam.text import name_key

# The views that labeling tools write beside their masks, and masks of single objects beside those of classes.
_OTHER_FOLDER = re.compile(
    r"(segmentation.*)?visuali[sz]ations?|segmentationobject(png)?|masks?_human|overlays?"
)
_READER = re.compile(r"(?:reader|observer|annotator|expert|rater|operator)[ _.-]?\w{1,2}")
_MASK_FOLDER, _IMAGE_FOLDER = (
    re.compile(rf"(?P<before>.*{GAP})?(?:{words})(?P<after>tr|ts|val|{GAP}.*)?")
    for words in (MASK_WORDS, IMAGE_WORDS)
)

Parts = tuple[str, ...]
_ByName = dict[str, "list[_File]"]


@dataclass(frozen=True, slots=True)
class NamedMask:
    """A mask file of an image.

    Attributes:
        path: of the mask.
        structure: what it shows, by its folder or name; None if they do not say.
    """

    path: str
    structure: str | None = None


@dataclass(frozen=True, slots=True)
class Pairing:
    """Images and masks among some files; each file is in exactly one of the lists.

    Attributes:
        masks: the masks of each image that has some.
        without_mask: images without a mask.
        without_image: masks without an image.
        ambiguous: images whose masks are not certain, with the reason.
        ambiguous_masks: the masks in question.
        others: files that are neither, such as pictures of masks.
    """

    masks: dict[str, tuple[NamedMask, ...]]
    without_mask: tuple[str, ...]
    without_image: tuple[str, ...]
    ambiguous: dict[str, str]
    ambiguous_masks: tuple[str, ...]
    others: tuple[str, ...]


def split_masks(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide files into images, and masks of these images, in the given order."""
    if not paths:
        return [], []
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - keeps links as they are
    roots = {path.anchor for path in absolute}
    root = os.path.commonpath([path.parent for path in absolute]) if len(roots) == 1 else None
    names = [(path.relative_to(root) if root else path).as_posix() for path in absolute]
    pairing = pair_masks(names)
    masks = {mask.path for group in pairing.masks.values() for mask in group}
    masks |= {*pairing.without_image, *pairing.ambiguous_masks, *pairing.others}
    images = [path for path, name in zip(paths, names, strict=True) if name not in masks]
    return images, [path for path, name in zip(paths, names, strict=True) if name in masks]


def pair_masks(paths: Sequence[str]) -> Pairing:
    """Pair images with their masks.

    Args:
        paths: relative to the folder that is searched, '/'-separated. Folders above it say nothing.
    """
    return _Pairer([_File.of(path) for path in dict.fromkeys(paths)]).result()


def without_role(path: str) -> str:
    """A file's path without suffix and without the folder that says that it holds images.

    Of ``p1/images/001.png`` this is ``p1/001``.
    """
    file = _File.of(path)
    folders = path.split("/")[:-1]
    if file.role == "images":
        del folders[len(file.prefix)]
    return "/".join([*folders, file.text])


@dataclass(frozen=True, slots=True)
class _File:
    """A file's path, taken apart.

    Attributes:
        path: as given.
        stem: its name without suffix, in the form in which names are compared.
        text: its name without suffix, as given.
        folders: the folders above it, in the form in which names are compared.
        role: what the innermost folder with a telling name holds: images, masks, others; None without one.
        prefix: the folders above that folder.
        kind: what else its name says, as ``train`` in ``train_masks``.
        inner: the folders below it.
        inner_text: the folders below it, as given.
    """

    path: str
    stem: str
    text: str
    folders: Parts
    role: str | None = None
    prefix: Parts = ()
    kind: str = ""
    inner: Parts = ()
    inner_text: Parts = ()

    @classmethod
    def of(cls, path: str) -> _File:
        *folders, name = [part for part in path.split("/") if part not in ("", ".")]
        text = re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)
        text = text.rsplit(".", 1)[0] or text
        keys = tuple(name_key(folder) for folder in folders)
        for index in range(len(keys) - 1, -1, -1):
            role, kind = _role_of(keys[index])
            if role is not None:
                below = slice(index + 1, None)
                return cls(path, name_key(text), text, keys, role, keys[:index], kind, keys[below],
                           tuple(folders[below]))  # fmt: skip
        return cls(path, name_key(text), text, keys)

    @property
    def place(self) -> Parts:
        """The innermost folder with a telling name."""
        return self.folders[: len(self.prefix) + 1] if self.role else ()


class _Found(NamedTuple):
    """The images that a mask may belong to, its structure, the number of its object, and whether its name has
    more than that of its image, as ``x_cyst`` has."""

    images: list[_File]
    structure: str | None
    number: str
    longer: bool = False


def _role_of(folder: str) -> tuple[str | None, str]:
    """What a folder holds by its name, and what else its name says."""
    if _OTHER_FOLDER.fullmatch(folder):
        return "others", ""
    for role, expression in (("masks", _MASK_FOLDER), ("images", _IMAGE_FOLDER)):
        match = expression.fullmatch(folder)
        if match:
            rest = " ".join(part for part in (match["before"], match["after"]) if part)
            words = [word for word in re.split(GAP, rest) if word]
            others = [word for word in words if not re.fullmatch(IMAGE_WORDS, word)]
            return role, " ".join(others)
    return None, ""


class _Pairer:
    def __init__(self, files: list[_File]) -> None:
        self.others = tuple(file.path for file in files if file.role == "others")
        in_place = [file for file in files if file.role == "masks"]
        self.images = [file for file in files if file.role in ("images", None)]
        self._index()
        self.of_mask: dict[str, _Found] = {}
        for mask in in_place:
            match = self._images_in_folders(mask)
            if match is not None:
                self.of_mask[mask.path] = match
        # A folder named like one of masks holds images, if no image anywhere goes with it.
        used = {mask.place for mask in in_place if mask.path in self.of_mask}
        used |= {m.place for m in in_place if m.prefix in self.image_kinds}
        masks = [mask for mask in in_place if mask.place in used]
        self.images += [mask for mask in in_place if mask.place not in used]
        self.without_image = [mask for mask in masks if mask.path not in self.of_mask]
        self.masks = [mask for mask in masks if mask.path in self.of_mask]
        self._index()
        self._pair_neighbors()

    def _index(self) -> None:
        """Index the images by folder, and by the part of the path that they share with their masks."""
        self.by_folder: dict[Parts, list[_File]] = {}
        self.by_role: dict[tuple[Parts, str, Parts], list[_File]] = {}
        self.image_kinds: dict[Parts, set[str]] = {}
        for image in self.images:
            self.by_folder.setdefault(image.folders, []).append(image)
            if image.role == "images":
                key = (image.prefix, image.kind, image.inner)
                self.by_role.setdefault(key, []).append(image)
                self.image_kinds.setdefault(image.prefix, set()).add(image.kind)
        self.stems: dict[int, tuple[_ByName, _ByName, set[str]]] = {}

    def _images_in_folders(self, mask: _File) -> _Found | None:
        """The images of a mask in a folder of masks; None if there is none."""
        exact = [Meaning(mask.stem), *meanings(mask.stem, mask.text)]
        for named in (exact, list(longer_meanings(mask.stem, mask.text, exact))):
            for images, structure in self._folders_for(mask):
                match = self._named(images, named, longer=named is not exact)
                if match is not None:
                    return match._replace(structure=structure or match.structure)
        return None

    def _folders_for(self, mask: _File) -> Iterator[tuple[list[_File], str | None]]:
        """The images of each folder that may belong to a mask, and the structure that its path then names."""
        kinds: list[tuple[str, str | None]] = [(mask.kind, None)]
        if mask.kind:
            kinds.append(("", mask.kind))
        only = self.image_kinds.get(mask.prefix, set())
        if len(only) == 1 and mask.kind not in only:
            kinds.append((next(iter(only)), mask.kind or None))
        inner: list[tuple[Parts, str | None]] = [(mask.inner, None)]
        if mask.inner:
            inner += [(mask.inner[1:], mask.inner_text[0]), (mask.inner[:-1], mask.inner_text[-1])]
        for below, structure in inner:
            for kind, other in kinds:
                yield self.by_role.get((mask.prefix, kind, below), []), structure or other
            yield self.by_folder.get(mask.prefix + below, []), structure or mask.kind or None

    def _named(
        self, images: list[_File], named: Sequence[Meaning], *, longer: bool = False
    ) -> _Found | None:
        """The images with one of the names that a mask's name may stand for.

        If these are `longer_meanings`, no other image may have such a name: beside the images ``a`` and
        ``a_1``, ``a_2`` is the mask of a third one.
        """
        if not images:
            return None
        if id(images) not in self.stems:
            stems: _ByName = {}
            short: _ByName = {}
            for image in images:
                stems.setdefault(image.stem, []).append(image)
                short.setdefault(short_name(image.stem), []).append(image)
            named_as_images = [i for i in images if not any(meanings(i.stem, i.text))]
            begun = {part for image in named_as_images for part in beginnings(image.stem)}
            self.stems[id(images)] = (stems, short, begun)
        by_stem, by_short, begun = self.stems[id(images)]
        for index in (by_stem, by_short):
            for base, _, structure, number in named:
                if base in index and not (longer and base in begun):
                    return _Found(index[base], structure, number, longer)
        return None

    def _pair_neighbors(self) -> None:
        """Find the masks beside their images."""
        paired = {image.path for match in self.of_mask.values() for image in match.images}
        beside: dict[str, _Found] = {}
        # An image's name is shorter than those of its masks, which are no images of other masks.
        for file in sorted(self.images, key=lambda file: (len(file.stem), file.path)):
            if file.path in paired:
                continue
            match = self._beside(file)
            images = (
                [i for i in match.images if i is not file and i.path not in beside] if match else []
            )
            if match and images:
                beside[file.path] = match._replace(images=images)
        words = {
            (file.folders, meaning.word)
            for file in self.images
            if file.path in beside
            for meaning in meanings(file.stem, file.text)
        }
        paired |= {image.path for match in beside.values() for image in match.images}
        for file in self.images:
            if file.path in beside:
                self.masks.append(file)
            elif file.path not in paired and any(
                (file.folders, meaning.word) in words for meaning in meanings(file.stem, file.text)
            ):
                self.without_image.append(file)
        self.of_mask |= beside
        masks = {file.path for file in (*self.masks, *self.without_image)}
        self.images = [image for image in self.images if image.path not in masks]

    def _beside(self, file: _File) -> _Found | None:
        """The images beside a file whose mask it may be."""
        images, exact = self.by_folder[file.folders], list(meanings(file.stem, file.text))
        longer = list(longer_meanings(file.stem, file.text, exact))
        return self._named(images, exact) or self._named(images, longer, longer=True)

    def result(self) -> Pairing:
        masks_of: dict[str, list[tuple[_File, _Found]]] = {i.path: [] for i in self.images}
        ambiguous: dict[str, str] = {}
        for mask in self.masks:
            images = self.of_mask[mask.path].images
            for image in images:
                masks_of[image.path].append((mask, self.of_mask[mask.path]))
            if len(images) > 1:
                names = _listed([image.path for image in images])
                reason = f"its mask may belong to any of {names}; rename or remove all but one"
                ambiguous |= dict.fromkeys((image.path for image in images), reason)
        for path, masks in masks_of.items():
            doubt = _doubt(masks)
            if doubt is not None:
                ambiguous.setdefault(path, doubt)
        in_question = {m.path: None for path in ambiguous for m, _ in masks_of[path]}
        return Pairing(
            masks={
                path: tuple(NamedMask(m.path, of.structure) for m, of in masks)
                for path, masks in masks_of.items()
                if masks and path not in ambiguous
            },
            without_mask=tuple(path for path, masks in masks_of.items() if not masks),
            without_image=tuple(mask.path for mask in self.without_image),
            ambiguous=ambiguous,
            ambiguous_masks=tuple(in_question),
            others=self.others,
        )


def _doubt(masks: Sequence[tuple[_File, _Found]]) -> str | None:
    """Why the masks of an image may show the same object twice; None if they do not."""
    # A mask of no named structure may be the union of masks in folders of structures.
    by_folder = {of.structure for mask, of in masks if mask.inner and of.structure}
    whole = by_folder and any(of.structure is None for _, of in masks)
    readers = {of.structure for mask, of in masks if _is_reader(mask, of.structure)}
    whole = whole or len(readers) > 1
    if any(of.longer for _, of in masks):
        # x_mask may be the union of x_cyst_mask and x_wall_mask.
        unnamed = [of.longer for _, of in masks if of.structure is None]
        whole = whole or not all(unnamed) or 0 < len(unnamed) < len(masks)
    names = [(mask.folders, of.structure, of.number) for mask, of in masks]
    places: dict[Parts, set[str | None]] = {}
    for mask, of in masks:
        places.setdefault(mask.place if mask.role == "masks" else (), set()).add(of.structure)
    structures = [name for place in places.values() for name in place]
    several = len(places) > 1 and (None in structures or len(set(structures)) < len(structures))
    if whole or several or len(set(names)) < len(names):
        listed = _listed([mask.path for mask, _ in masks])
        return f"several masks that may show the same object ({listed}); remove all but one"
    return None


def _is_reader(mask: _File, structure: str | None) -> bool:
    """Whether what a path says of a mask is who drew it, and not what it shows."""
    return structure is not None and (
        _READER.fullmatch(name_key(structure)) is not None
        or (structure == mask.kind and structure.isdecimal())
    )


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
