"""Distribute training batches and validation images over processes.

Training data are a function of an index. Each step takes the next batch × processes indices, so that a run
resumes exactly from a step number, and the images of a step do not depend on the number of processes.
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
from ultrasam.processes import exit_with_parent
from ultrasam.training.run_settings import TrainerSettings

with needs("Training", extra="train"):
    import lightning


@dataclass(frozen=True, slots=True)
class TensorBatch:
    """A batch whose fields are tensors or tuples of tensors, which are moved together."""

    def to(self, device: torch.device) -> Self:
        """Copy the batch to a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Copy the batch to page-locked memory, from which copies to a GPU are asynchronous."""
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
    """Loads the batches of each process.

    Args:
        views: training data by index; each view depends only on its index.
        collate: combines views into a batch.
        validation: images held out of training.
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
        """Batches of this process."""
        assert self.trainer is not None
        return self.loader(rank=self.trainer.global_rank, processes=self.trainer.world_size)

    def loader(self, *, rank: int = 0, processes: int = 1) -> DataLoader[Any]:
        """Batches of one of ``processes``, starting at ``first_step``."""
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
            worker_init_fn=_start_worker,
            collate_fn=self.collate,
            persistent_workers=settings.workers > 0,
            pin_memory=settings.accelerator != "cpu" and torch.cuda.is_available(),
            drop_last=True,
        )

    def val_dataloader(self) -> Any:
        """This process's part of the held-out images, one at a time."""
        assert self.trainer is not None
        images, processes = self.validation, self.trainer.world_size
        if images and len(images) < processes:
            raise DataError(
                f"{len(images)} validation images are too few for {processes} processes; increase "
                "validation.fraction, or set validation.every=0."
            )
        part = _ImageList(images[self.trainer.global_rank :: processes])
        return DataLoader(part, batch_size=None, num_workers=0) if len(part) else []


def _start_worker(worker: int) -> None:
    use_one_thread()
    exit_with_parent()


def use_one_thread() -> None:
    """Keep a worker process to one core: the workers are the parallelism."""
    torch.set_num_threads(1)
    # Not 1, which stops OpenCV's threads: a forked process has none, and crashes if its parent had.
    cv2.setNumThreads(0)


class _ImageList(Dataset[AnnotatedImage]):
    def __init__(self, images: Sequence[AnnotatedImage]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> AnnotatedImage:
        return self.images[index]


class StepSampler(Sampler[int]):
    """One process's indices, in order (views are already random functions of their index).

    Each step takes the next ``batch`` × ``processes`` indices; this process gets the ``rank``-th part. The
    length includes indices drawn before a run was resumed, as Lightning's step counter does.
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
