"""Each process's batches, and the images that validate.

Training data are a function of an index. Each step takes the next batch × processes indices, so that a run
resumes exactly from a step number, and a step's images do not depend on how many processes share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.training.run_settings import TrainerSettings

with needs("Training", extra="train"):
    import lightning


@dataclass(frozen=True, slots=True)
class TensorBatch:
    """A batch whose fields are tensors, or tuples of tensors, all of which move together."""

    def to(self, device: torch.device) -> Self:
        """The batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory, from which copies to a GPU do not wait."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self,
            **{
                name: tuple(map(change, value)) if isinstance(value, tuple) else change(value)
                for name, value in values.items()
            },
        )


class IndexedData(lightning.LightningDataModule):
    """Gives each process its batches, once it is known which process it is.

    Args:
        views: training data by index, each depending on its index alone.
        collate: makes a batch of views.
        validation: images that are held out of training.
    """

    def __init__(
        self,
        views: Dataset[Any],
        settings: TrainerSettings,
        *,
        collate: Callable[[list[Any]], TensorBatch],
        validation: Sequence[AnnotatedImage] = (),
    ) -> None:
        super().__init__()
        self.views, self.settings, self.collate = views, settings, collate
        self.validation = validation
        self.first_step = 0

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        return self.loader(rank=self.trainer.global_rank, processes=self.trainer.world_size)

    def loader(self, *, rank: int = 0, processes: int = 1) -> DataLoader[Any]:
        """The batches of one of ``processes``, from ``first_step`` on."""
        settings = self.settings
        return DataLoader(
            self.views,
            batch_size=settings.batch,
            sampler=StepSampler(
                self.first_step * settings.accumulate,
                settings.max_steps * settings.accumulate,
                batch=settings.batch,
                rank=rank,
                processes=processes,
            ),
            num_workers=settings.workers,
            worker_init_fn=use_one_thread,
            collate_fn=self.collate,
            persistent_workers=settings.workers > 0,
            pin_memory=settings.accelerator != "cpu" and torch.cuda.is_available(),
            drop_last=True,
        )

    def val_dataloader(self) -> Any:
        """This process's share of the held-out images, one at a time."""
        assert self.trainer is not None
        images, processes = self.validation, self.trainer.world_size
        if images and len(images) < processes:
            raise DataError(
                f"{len(images)} images to validate on are too few for {processes} processes; hold out more "
                "(validation.fraction), or set validation.every=0."
            )
        share = _Listed(images[self.trainer.global_rank :: processes])
        return DataLoader(share, batch_size=None, num_workers=0) if len(share) else []


def use_one_thread(worker: int = 0) -> None:
    """Keep a worker process to one core: the workers are the parallelism."""
    torch.set_num_threads(1)
    # Not 1, which stops OpenCV's threads: a forked process has none, and crashes if its parent had.
    cv2.setNumThreads(0)


class _Listed(Dataset[AnnotatedImage]):
    def __init__(self, images: Sequence[AnnotatedImage]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> AnnotatedImage:
        return self.images[index]


class StepSampler(Sampler[int]):
    """One process's share of indices in order: views are random by their index already.

    Each step takes the next ``batch`` × ``processes`` indices, of which this process has the ``rank``-th
    part. Its length counts what was drawn before a resumption too, as Lightning's step counter does.
    """

    def __init__(
        self, first_step: int, steps: int, *, batch: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.first_step, self.steps, self.batch = first_step, steps, batch
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return self.steps * self.batch

    def __iter__(self) -> Iterator[int]:
        for step in range(self.first_step, self.steps):
            start = (step * self.processes + self.rank) * self.batch
            yield from range(start, start + self.batch)
