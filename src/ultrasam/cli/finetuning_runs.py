"""What the commands of `ultrasam finetune` do once their input is checked."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ultrasam.cli.finetuning import CHECKPOINTS, TEST_FRACTION
from ultrasam.cli.progress import progress_bar
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import dataset_id
from ultrasam.downstream.backbone import load_backbone, load_promptable
from ultrasam.downstream.class_files import label_of
from ultrasam.downstream.classification.model import Classifier, save_classifier
from ultrasam.downstream.classification.report import ClassificationReport
from ultrasam.downstream.classification.report import write_report as write_classification
from ultrasam.downstream.classification.task import cross_validate, train_classifier
from ultrasam.downstream.images import (
    check_classes,
    folds_of,
    keep_classes,
    open_class_images,
    open_datasets,
    open_images,
)
from ultrasam.downstream.instances.metrics import evaluate_instances
from ultrasam.downstream.instances.model import save_instance_segmenter
from ultrasam.downstream.instances.report import InstanceReport
from ultrasam.downstream.instances.report import write_report as write_instances
from ultrasam.downstream.instances.task import train_instance_segmenter
from ultrasam.downstream.regions.model import save_region_classifier
from ultrasam.downstream.regions.task import correct, train_region_classifier
from ultrasam.downstream.settings import ClassifierSettings, InstanceSettings, RegionSettings
from ultrasam.downstream.suite import markdown, run
from ultrasam.downstream.suite_recipe import BenchmarkSuite
from ultrasam.downstream.targets import (
    InstanceTarget,
    Labels,
    classes_of,
    instance_targets,
    train_test_split,
)
from ultrasam.errors import DataError
from ultrasam.evaluation.metrics.statistics import Estimate
from ultrasam.files import atomic_write, require_space
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.reporting.tables import number_json
from ultrasam.text import counted
from ultrasam.training.engine import is_first_process
from ultrasam.training.run_folder import LAST, keep_settings
from ultrasam.training.run_settings import RunSettings
from ultrasam.weights.adapters import count_parameters

logger = logging.getLogger(__name__)


def run_classify(
    settings: ClassifierSettings,
    data: Sequence[str],
    *,
    datasets: Sequence[str],
    classes: Sequence[str],
    inits: Sequence[str],
    folds: int | None,
    test: Sequence[str],
    out: Path,
    as_json: bool,
) -> None:
    """Test every initialization, on other data or by cross-validation; save the first and report.

    Args:
        folds: None for the data's own test split, if they have one, else 5 folds.
    """
    checkpoints = out / CHECKPOINTS
    models = {name: load_backbone(name, seed=settings.seed) for name in inits}
    _check_space(out, models[inits[0]])
    labeled = open_class_images(data, datasets=datasets, workers=settings.trainer.workers)
    if classes:
        labeled = keep_classes(labeled, classes)
    _tell(labeled.left_out)
    images, names, left_out = list(labeled.images), labeled.classes, labeled.left_out
    own_test = [image for image in images if image.split == "test"]
    split = None
    if test:
        others = open_class_images(test, workers=settings.trainer.workers)
        if classes:
            others = keep_classes(others, [name for name in others.classes if name in names])
        _tell(others.left_out)
        tested, left_out = list(others.images), (*left_out, *others.left_out)
        if not tested:
            raise DataError(f"No image of {', '.join(test)} has one of the classes.")
        check_classes(images, tested)
        how = f"Trained on {counted(len(images), 'image')} of {', '.join(data)}, tested on {', '.join(test)}."
    elif own_test and folds is None:
        images, tested = [image for image in images if image.split != "test"], own_test
        check_classes(images, tested)
        names = sorted({label_of(image) for image in images})
        how = f"Trained on {counted(len(images), 'image')}, tested on the test split of {', '.join(data)}."
    else:
        tested, folds = images, folds or 5
        split = folds_of(images, folds, seed=settings.seed)
        how = f"{folds} folds by subject, tested on what each leaves out."
    _keep(checkpoints, settings, data=data, datasets=datasets, classes=names, init=inits,
          folds=folds, test=test)  # fmt: skip

    starts = list(models)

    def trained_on_all(number: int) -> Classifier:
        folder = checkpoints / (f"all-{number}" if number else "all")
        with progress_bar(f"{starts[number]}, all data") as on_progress:
            return train_classifier(
                models[starts[number]], images, names, settings,
                folder=folder, resume=_started(folder), on_progress=on_progress,
            )  # fmt: skip

    by_init = {}
    if split is None:
        trained = [trained_on_all(number) for number in range(len(starts))]
        for name, one in zip(starts, trained, strict=True):
            by_init[name] = one.predict(image.gray for image in tested).double().numpy()
        classifier = trained[0]
    else:
        for number, (name, model) in enumerate(models.items()):
            with progress_bar(name) as on_progress:
                by_init[name] = cross_validate(
                    model, tested, names, split, settings,
                    folder=checkpoints / f"folds-{number}", on_progress=on_progress,
                )  # fmt: skip
        classifier = trained_on_all(0)
    if not is_first_process():
        return
    report = ClassificationReport(tuple(names), tuple(tested), by_init, how, left_out)
    figures = {n: str(s) for n, s in report.scores(inits[0]).items()}
    save_classifier(classifier, out, _note(settings, inits[0], data, how, figures))
    _print_report(report, write_classification(report, classifier, out), as_json=as_json)


def run_regions(
    settings: RegionSettings,
    data: Sequence[str],
    *,
    datasets: Sequence[str],
    classes: Sequence[str],
    init: str,
    test: Sequence[str],
    test_fraction: float,
    out: Path,
    resume: bool,
    as_json: bool,
) -> None:
    """Train, test on other subjects, save and report."""
    checkpoints = out / CHECKPOINTS
    model = load_promptable(init, seed=settings.seed)
    _check_space(out, model)
    train, tested, names = _targets(
        data, datasets, classes, test_fraction, test=test, workers=settings.trainer.workers
    )
    _keep(checkpoints, settings, data=data, datasets=datasets, classes=names, init=init, test=test,
          test_fraction=test_fraction)  # fmt: skip
    with progress_bar(init) as on_progress:
        classifier = train_region_classifier(
            model, train, settings, folder=checkpoints, resume=resume, on_progress=on_progress
        )
    if not is_first_process():
        return
    accuracies = {k: Estimate.of_mean(*correct(classifier, tested, k)) for k in ("box", "point")}
    how = f"on {counted(len(tested), 'image')} of other subjects"
    figures = {f"accuracy, {kind}": f"{one.value:.3f}" for kind, one in accuracies.items()}
    save_region_classifier(classifier, out, _note(settings, init, data, how, figures))
    counts = Counter(label for target in tested for label in target.labels)
    if as_json:
        content = {
            "model": str(out),
            "classes": names,
            "images": len(tested),
            "objects": dict(counts),
            "accuracy": {k: number_json(v.value, v.low, v.high) for k, v in accuracies.items()},
        }
        print(json.dumps(content, indent=1))
        return
    print(out)
    ((guess, majority),) = counts.most_common(1)
    for kind, one in accuracies.items():
        print(
            f"{kind}: accuracy {one.value:.3f} on {counted(counts.total(), 'object')}, {how}; always "
            f"answering '{guess}' would give {majority / counts.total():.3f}."
        )


def run_instances(
    settings: InstanceSettings,
    data: Sequence[str],
    *,
    datasets: Sequence[str],
    classes: Sequence[str],
    labels: Labels,
    inits: Sequence[str],
    test: Sequence[str],
    test_fraction: float,
    out: Path,
    resume: bool,
    as_json: bool,
) -> None:
    """Train and test every initialization, save the first and report."""
    checkpoints = out / CHECKPOINTS
    models = {name: load_backbone(name, seed=settings.seed) for name in inits}
    _check_space(out, models[inits[0]])
    train, tested, names = _targets(
        data, datasets, classes, test_fraction, test=test, labels=labels, keep_empty=True,
        workers=settings.trainer.workers,
    )  # fmt: skip
    _keep(checkpoints, settings, data=data, datasets=datasets, classes=names, labels=labels,
          init=inits, test=test, test_fraction=test_fraction)  # fmt: skip
    metrics, trained = {}, {}
    for number, (name, model) in enumerate(models.items()):
        folder = checkpoints / str(number)
        with progress_bar(name) as on_progress:
            trained[name] = train_instance_segmenter(
                model, train, names, settings,
                folder=folder, resume=_started(folder), on_progress=on_progress,
            )  # fmt: skip
        with progress_bar(f"{name}, test") as on_progress:
            metrics[name] = evaluate_instances(trained[name], tested, on_progress=on_progress)
    if not is_first_process():
        return
    trainer = settings.trainer
    steps = counted(trainer.max_steps, "step")
    how = f"Trained on {counted(len(train), 'other image')}, {steps} of {trainer.batch}."
    report = InstanceReport(tuple(names), tuple(tested), metrics, how)
    note = _note(settings, inits[0], data, how, report.figures(inits[0]))
    save_instance_segmenter(trained[inits[0]], out, note)
    page = write_instances(report, trained[inits[0]], out)
    _print_report(report, page, as_json=as_json)


def run_suite(suite: BenchmarkSuite, data: Sequence[str], *, out: Path, as_json: bool) -> None:
    """Run everything in a suite that data and weights allow, and report."""
    cells = run(suite, open_datasets(data, datasets=suite.datasets), out)
    if not is_first_process():
        return
    text = markdown(suite, cells, shlex.join(["ultrasam", *sys.argv[1:]]))
    atomic_write(out / "report.md", text)
    if as_json:
        content = {"runs": [cell.to_json() for cell in cells], "report": [str(out / "report.md")]}
        print(json.dumps(content, indent=1))
    else:
        print(text)
    if all(cell.missing for cell in cells):
        raise DataError("No fine-tuning of the suite could run; the reasons are above.")


def _print_report(
    report: ClassificationReport | InstanceReport, page: Path, *, as_json: bool
) -> None:
    """Print the tables of a report, and where it and the model are."""
    if as_json:
        content = {"model": str(page.parent), **report.to_json(), "report": [str(page)]}
        print(json.dumps(content, indent=1))
        return
    print(page)
    print(report.markdown())
    print(report.conclusion())


def _targets(
    data: Sequence[str],
    datasets: Sequence[str],
    classes: Sequence[str],
    test_fraction: float,
    *,
    test: Sequence[str] = (),
    labels: Labels = "structure",
    keep_empty: bool = False,
    workers: int = 0,
) -> tuple[list[InstanceTarget], list[InstanceTarget], list[str]]:
    """Targets to train and to test on, from different subjects, and their classes."""
    images = open_images(data, datasets=datasets, workers=workers)
    absent = {dataset_id(name) for name in datasets} - {image.dataset for image in images}
    if absent:
        raise DataError(f"{', '.join(data)} hold no {', '.join(sorted(absent))}.")
    if test:
        train, tested = images, open_images(test, workers=workers)
    else:
        train, tested = train_test_split(images, test_fraction)
        has_test_split = any(image.split == "test" for image in images)
        if has_test_split and test_fraction != TEST_FRACTION:
            logger.warning("--test-fraction is not used, because the data have a test split.")
    first, second = (
        instance_targets(split, classes or None, labels=labels, keep_empty=keep_empty)
        for split in (train, tested)
    )
    names = classes_of(first, second)
    _tell_small([*train, *tested], [*first, *second])
    return first, second, names


def _tell_small(images: Sequence[AnnotatedImage], targets: Sequence[InstanceTarget]) -> None:
    """Say how many objects and images are neither trained nor tested on."""
    objects = sum(len(image.areas) for image in images)
    targeted = sum(len(target.rows) for target in targets)
    if objects > targeted or len(images) > len(targets):
        logger.warning(
            "Left out: %d of %d objects, which are smaller than %d pixels or of other classes, and %d of %d "
            "images, which have no object.",
            objects - targeted, objects, MIN_OBJECT_PIXELS, len(images) - len(targets), len(images),
        )  # fmt: skip


def _tell(left_out: Sequence[str]) -> None:
    if left_out:
        more = f"; and {len(left_out) - 3} more" * (len(left_out) > 3)
        logger.warning("Left out: %s%s.", "; ".join(left_out[:3]), more)


def _check_space(out: Path, model: nn.Module) -> None:
    """Refuse to train what will not fit on the disk.

    Raises:
        DiskFullError: There is too little space for the weights.
    """
    require_space(out, 4 * sum(count_parameters(model)))


def _keep(checkpoints: Path, settings: RunSettings, **options: Any) -> None:
    """Write what the run was asked for beside its checkpoints, or check that it is resumed with the same."""
    if is_first_process():
        keep_settings(checkpoints, {"settings": settings.model_dump(mode="json"), **options})


def _started(folder: Path) -> bool:
    """Whether a run in a folder has a checkpoint to resume from."""
    return (folder / LAST).exists()


def _note(
    settings: Any, init: str, data: Sequence[str], how: str, figures: dict[str, str]
) -> dict[str, Any]:
    """How a saved model was made."""
    return {
        "init": init,
        "recipe": settings.model_dump(mode="json"),
        "data": list(data),
        "how": how,
        "figures": figures,
    }
