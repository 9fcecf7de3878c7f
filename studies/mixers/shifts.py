"""Accuracy of trained models on test images that differ from the training images in one respect; writes `shifts.csv`.

uv run python -m studies.mixers.shifts --protocol final --mixers dsm dsm-emphasis dsm-static gatedconv7

Size (resized, bicubic; tables made for one grid, such as GFNet's filter, are interpolated as in their papers),
frequency content (the DCT of the image keeps what lies below, or above and the mean, a radius in cycles per pixel),
contrast and noise. Needs the weights that `run` left in `runs/mixers`. A line that is in `shifts.csv` is not measured
again.
"""

import argparse
import csv
import multiprocessing
import os
import statistics
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dsmixer.spectral import dct2, idct2
from studies.mixers.data import radius
from studies.mixers.run import KEY, evaluate, load, opened, trained, use_one_thread, write

RESULTS = Path(__file__).with_name("shifts.csv")
FIELDS = (*KEY, "shift", "test_acc")


def resized(x: Tensor, scale: float) -> Tensor:
    """Images at ``scale`` times their side."""
    side = round(scale * x.shape[-1])
    return interpolate(x, (side, side), mode="bicubic", antialias=True)


def filtered(x: Tensor, kept: str, cutoff: float) -> Tensor:
    """NCHW images with the frequencies ``"below"`` the cutoff alone, or the mean and those ``"above"`` it."""
    s_BUVC = dct2(x.permute(0, 2, 3, 1))
    r = radius(*s_BUVC.shape[1:3], x.device)
    keep = r <= cutoff if kept == "below" else (r > cutoff) | (r == 0)
    return idct2(s_BUVC * keep[..., None]).permute(0, 3, 1, 2)


def faded(x: Tensor, contrast: float) -> Tensor:
    """Every channel's deviation from its mean over the image, times ``contrast``."""
    mean = x.mean((2, 3), keepdim=True)
    return mean + contrast * (x - mean)


def noisy(x: Tensor, std: float) -> Tensor:
    """White noise of ``std``, in standard deviations of the data set; the same for every model."""
    return x + std * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)


SHIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    **{f"{scale} x the side": partial(resized, scale=scale) for scale in (0.75, 1.5, 2.0)},
    **{f"below {1 / n} cycles": partial(filtered, kept="below", cutoff=1 / n) for n in (4, 8, 16)},
    **{f"above {1 / n} cycles": partial(filtered, kept="above", cutoff=1 / n) for n in (32, 16, 8)},
    **{f"contrast {c}": partial(faded, contrast=c) for c in (0.5, 0.25, 2.0)},
    **{f"noise {std}": partial(noisy, std=std) for std in (0.125, 0.25, 0.5)},
}


def measured() -> dict[tuple[str, ...], str]:
    """Accuracy by (protocol, dataset, mixer, seed, shift), of earlier calls."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open() as lines:
        return {tuple(row[field] for field in FIELDS[:-1]): row["test_acc"] for row in csv.DictReader(lines)}


def markdown() -> str:
    """Mean accuracy of each mixer under each shift, a table a data set."""
    found = defaultdict(list)
    for (_, dataset, mixer, _, shift), accuracy in measured().items():
        found[dataset, shift, mixer].append(float(accuracy))
    mixers = sorted({mixer for _, _, mixer in found})
    lines = []
    for dataset in sorted({dataset for dataset, _, _ in found}):
        lines += [f"**{dataset}**", "", f"| test images | {' | '.join(mixers)} |", "|---" * (len(mixers) + 1) + "|"]
        for shift in SHIFTS:
            means = (f"{statistics.fmean(found[dataset, shift, mixer]):.1f}" for mixer in mixers)
            lines.append(f"| {'as they are' if shift == 'none' else shift} | {' | '.join(means)} |")
        lines.append("")
    return "\n".join(lines)


def accuracies(key: tuple[str, ...], names: list[str], device: str) -> dict[str, str]:
    """Test accuracy of one trained model under each of the shifts."""
    model, images = load(*key).to(device), opened(key[1], "test", device, None, False)
    return {name: str(round(evaluate(model, images, SHIFTS[name])[0], 2)) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", default="final")
    parser.add_argument("--mixers", nargs="+", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    found = measured()
    todo = {
        key: [name for name in SHIFTS if (*key, name) not in found] for key in trained(options.protocol, options.mixers)
    }
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, use_one_thread) as pool:
        started = {pool.submit(accuracies, key, names, options.device): key for key, names in todo.items() if names}
        for done in as_completed(started):
            key = started[done]
            print(*key, done.result(), flush=True)
            found |= {(*key, name): accuracy for name, accuracy in done.result().items()}
            write(RESULTS, FIELDS, sorted((*measurement, accuracy) for measurement, accuracy in found.items()))


if __name__ == "__main__":
    main()
