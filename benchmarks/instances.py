"""Claim: instance segmentation with nano is about as good as a plain U-Net trained for the same time.

Trains Mask2Former on nano's encoder, and on the same encoder with random weights, for phantoms and for nerves
and vessels in real images (training and test split of USGRA-seg).
Peer: MONAI's U-Net with Dice and cross-entropy loss, on the same images at the same size, with the same batch
size, augmentation and training time. It predicts label maps, not instances, so Dice of label maps is
compared.

    python benchmarks/instances.py [--data TRAIN/USGRA-seg TEST/USGRA-seg] [--steps 800] [--phantoms 1500]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet

from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.features import ModelInput
from ultrasam.downstream.images import open_images
from ultrasam.downstream.instances.metrics import (
    dice_of_maps,
    evaluate_instances,
    mean_over_present,
    unions,
)
from ultrasam.downstream.instances.task import train_instance_segmenter
from ultrasam.downstream.settings import InstanceSettings
from ultrasam.downstream.targets import InstanceTarget, instance_targets
from ultrasam.evaluation.metrics.statistics import bootstrap_interval
from ultrasam.geometry import ViewTransform
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.phantom.acquisition import simulate
from ultrasam.training.augmentation import augment
from ultrasam.weights.registry import PREPROCESSING

# Objects in phantoms by their appearance; enclosing structures (glands, heads, walls) are background.
KINDS = {
    "lesion": "solid", "nodule": "solid", "solid part": "solid", "cyst": "fluid", "complex cyst": "fluid",
    "bladder": "fluid", "left ventricle": "fluid", "right ventricle": "fluid",
    "nerve": "nerve", "vessel": "vessel", "vessel along its axis": "vessel",
}  # fmt: skip
SIZE = 128  # allows four times as many steps as 256, for both models
PREPROCESS = ModelInput(PREPROCESSING["nano"], SIZE, 16)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, nargs=2, metavar=("TRAIN", "TEST"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--phantoms", type=int, default=1500)
    arguments = parser.parse_args()
    settings = InstanceSettings.model_validate(
        {"size": SIZE, "trainer": {"max_steps": arguments.steps}}
    )
    train = phantoms(10**6, arguments.phantoms)
    compare("phantoms", train, phantoms(2 * 10**6, 60), settings)
    if arguments.data:
        splits = [
            instance_targets(open_images([str(path)]), keep_empty=True) for path in arguments.data
        ]
        compare("USGRA-seg", splits[0], splits[1], settings)
    else:
        print("Without --data, real images are skipped.")


def phantoms(seed: int, count: int) -> list[InstanceTarget]:
    found = []
    for number in range(seed, seed + count):
        phantom = simulate(number, size=(192, 224))
        masks = [
            (m, KINDS[n])
            for m, n in zip(phantom.masks, phantom.names, strict=True)
            if n in KINDS and m.sum() >= MIN_OBJECT_PIXELS
        ]
        stacked = np.stack([m for m, _ in masks]) if masks else phantom.masks[:0]
        names = tuple(n for _, n in masks)
        found.append(
            InstanceTarget.of(phantom.pixels, stacked, names, name=str(number), subject=str(number))
        )
    return found


def compare(
    title: str,
    train: Sequence[InstanceTarget],
    test: Sequence[InstanceTarget],
    settings: InstanceSettings,
) -> None:
    counts = Counter(label for image in train for label in image.labels)
    classes = sorted(counts)
    print(
        f"{title}: {len(train)} training images, {len(test)} test images, objects per class {dict(counts)}"
    )
    subjects = [image.subject for image in test]
    seconds = 0.0
    for init in ("nano", "random:nano"):
        start = time.perf_counter()
        segmenter = train_instance_segmenter(load_backbone(init), train, classes, settings)
        spent = time.perf_counter() - start
        seconds = seconds or spent
        metrics = evaluate_instances(segmenter, test)
        p = metrics.precision
        report(f"Mask2Former on {init}", metrics.per_image(), subjects, spent,
               f"mAP {p.ap:.3f}, AP50 {p.ap50:.3f}, AP75 {p.ap75:.3f}")  # fmt: skip
    net, steps = train_unet(train, classes, settings, seconds)
    dice = [dice_of_maps(unet_map(net, image), unions(image, classes)) for image in test]
    report("U-Net (MONAI)", mean_over_present(np.stack(dice)), subjects, seconds, f"{steps} steps")


def report(
    name: str, values: npt.NDArray[np.float64], subjects: Sequence[str], seconds: float, more: str
) -> None:
    defined = np.isfinite(values)
    groups = [s for s, known in zip(subjects, defined, strict=True) if known]
    low, high = bootstrap_interval(values[defined], groups)
    print(
        f"  {name:<32} Dice {values[defined].mean():.3f} [{low:.3f}, {high:.3f}]  {seconds:.0f} s  {more}",
        flush=True,
    )


def train_unet(
    images: Sequence[InstanceTarget],
    classes: Sequence[str],
    settings: InstanceSettings,
    seconds: float,
) -> tuple[torch.nn.Module, int]:
    torch.manual_seed(settings.seed)
    net = UNet(
        spatial_dims=2, in_channels=1, out_channels=len(classes) + 1,
        channels=(32, 64, 128, 256, 512), strides=(2, 2, 2, 2), num_res_units=2,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4)
    loss_of = DiceCELoss(softmax=True, to_onehot_y=True)
    rng = np.random.default_rng(settings.seed)
    start, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        for group in optimizer.param_groups:  # lower for the last fifth, as for Mask2Former
            group["lr"] = 1e-3 if spent < 0.8 * seconds else 1e-4
        pixels, targets = [], []
        for row in rng.choice(len(images), settings.trainer.batch):
            image = images[row]
            frame, masks = augment(rng, image.pixels, image.masks, settings.augmentation)
            pixels.append(PREPROCESS(frame)[0][:1])
            targets.append(to_model_input(label_map(masks, image.labels, classes)))
        loss = loss_of(net(torch.stack(pixels)), torch.stack(targets)[:, None])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        steps += 1
    return net.eval(), steps


def label_map(
    masks: npt.NDArray[np.bool_], labels: Sequence[str], classes: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """Label map [H, W]; smaller objects are on top."""
    out = np.zeros(masks.shape[1:], np.uint8)
    for row in np.argsort([-int(m.sum()) for m in masks]):
        out[masks[row]] = classes.index(labels[row]) + 1
    return out


def to_model_input(labels: npt.NDArray[np.uint8]) -> torch.Tensor:
    height, width = ViewTransform.full(*labels.shape, size=SIZE).resized_shape
    out = torch.zeros(SIZE, SIZE, dtype=torch.long)
    grown = torch.from_numpy(labels)[None, None].float()
    out[:height, :width] = torch.nn.functional.interpolate(grown, (height, width))[0, 0].long()
    return out


@torch.inference_mode()
def unet_map(net: torch.nn.Module, image: InstanceTarget) -> npt.NDArray[np.uint8]:
    logits = net(PREPROCESS(image.pixels)[0][None, :1])[0]
    view = ViewTransform.full(*image.pixels.shape, size=SIZE)
    at_scan = np.stack([view.logits_to_scan(plane.numpy()) for plane in logits])
    return np.asarray(at_scan.argmax(axis=0), np.uint8)


if __name__ == "__main__":
    main()
