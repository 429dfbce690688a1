"""The licenses of the data sets in a store, and what they allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ultrasam.datasets.catalogue import facts, has_reader
from ultrasam.datasets.description import UNKNOWN
from ultrasam.datasets.licenses import Terms, strictest, terms, terms_of
from ultrasam.store.store import Store


@dataclass(frozen=True, slots=True)
class LicensedDataset:
    """A data set in a store, with its license.

    Attributes:
        id: its id, or the name of a custom data set.
        stored: license in the manifest, of the time when the data set was read.
        published: license in the present catalog; None if the catalog does not have the data set.
        terms: what it may be used for; where the two licenses differ, the stricter one counts.
        images: number of images.
        objects: number of annotated objects.
        citation: BibTeX entry.
    """

    id: str
    stored: str
    published: str | None
    terms: Terms
    images: int
    objects: int
    citation: str

    @property
    def differs(self) -> bool:
        """Whether the manifest states another license than the catalog."""
        return self.published is not None and self.published != self.stored


def licensed_datasets(store: Store) -> list[LicensedDataset]:
    """The data sets of a store with their licenses, sorted by id.

    Raises:
        DataError: The store is damaged.
    """
    images = Counter(store.images["dataset"].to_pylist())
    objects = Counter(store.instances["dataset"].to_pylist())
    found = []
    for name, entry in sorted(store.manifest["datasets"].items()):
        row, stored = facts().get(name), entry.get("license") or UNKNOWN
        if row is not None and not has_reader(row) and entry.get("name") != row.name:
            row = None  # a user's own data set, whose name is also the id of a published one
        access = UNKNOWN if row is None else row.access
        allowed = [terms(stored, access)] if row is None else [terms(stored, access), terms_of(row)]
        citation = entry.get("citation") or UNKNOWN
        if citation == UNKNOWN and row is not None:
            citation = row.citation
        found.append(
            LicensedDataset(
                id=name,
                stored=stored,
                published=None if row is None else row.license,
                terms=strictest(allowed),
                images=images[name],
                objects=objects[name],
                citation=citation,
            )
        )
    return found
