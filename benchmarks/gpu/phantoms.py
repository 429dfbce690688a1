"""Simulates the phantoms of nano-gpu.yaml into the cache, where training finds them.

python benchmarks/gpu/phantoms.py [--count N] [--workers N]
"""

from __future__ import annotations

import argparse

from ultrasam.store.cache import phantom_store
from ultrasam.training.recipe import load_recipe
from ultrasam.training.shipped import recipe_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for this one")
    arguments = parser.parse_args()
    recipe = load_recipe(recipe_path("nano-gpu"))
    count = arguments.count or recipe.data.phantoms.count
    print(phantom_store(count, seed=recipe.seed, workers=arguments.workers).root)


if __name__ == "__main__":
    main()
