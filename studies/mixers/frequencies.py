"""Does a model hold both frequencies? Accuracy on filtered images, and the spectra of its features by depth.

uv run python -m studies.mixers.frequencies --protocol screen --mixers dsm gatedconv7 attention

Writes `filtered.csv` (accuracy on test images whose DCT keeps the frequencies below, or above and the mean, a radius in
cycles per pixel) and `feature-spectra.csv` (share of each octave in the AC power of every stage's features). Needs the
weights that `run` left in `runs/mixers`.
"""

import argparse
import itertools
from pathlib import Path

import torch
from torch import Tensor

from dsmixer.spectral import dct2, idct2
from studies.mixers.data import Images
from studies.mixers.frame import Frame
from studies.mixers.run import KEY, evaluate, load, rows, weights_file, write

HERE = Path(__file__).parent
CUTOFFS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)
IMAGES = 1000  # for the spectra of features
OCTAVES = ("below 1/16", "1/16 to 1/8", "1/8 to 1/4", "above 1/4")


def radius(height: int, width: int, device: torch.device) -> Tensor:
    """(U, V): distance from DC in cycles per sample."""
    u, v = (torch.arange(n, device=device) / (2 * n) for n in (height, width))
    return (u[:, None] ** 2 + v**2).sqrt()


def filtered(x: Tensor, kept: str, cutoff: float) -> Tensor:
    """NCHW images with the frequencies ``"below"`` the cutoff alone, or the mean and those ``"above"`` it."""
    s_BUVC = dct2(x.permute(0, 2, 3, 1))
    r = radius(*s_BUVC.shape[1:3], x.device)
    keep = r <= cutoff if kept == "below" else (r > cutoff) | (r == 0)
    return idct2(s_BUVC * keep[..., None]).permute(0, 3, 1, 2)


@torch.no_grad()
def feature_spectra(model: Frame, x: Tensor) -> list[list[float]]:
    """For the stem and every stage: the share of each octave in the AC power, averaged over images and channels."""
    shares = []
    for features in [model.stem(x), *model.features(x)]:
        power = dct2(features.permute(0, 2, 3, 1)).square().mean((0, 3))
        r = radius(*power.shape, x.device)
        edges = itertools.pairwise((0, 1 / 16, 1 / 8, 1 / 4, 1))
        octaves = [power[(r > low) & (r <= high)].sum() for low, high in edges]
        shares.append([float(octave / sum(octaves)) for octave in octaves])
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", default="screen")
    parser.add_argument("--mixers", nargs="+", required=True)
    options = parser.parse_args()
    accuracies, spectra = [], []
    for row in rows():
        key = tuple(row[field] for field in KEY)
        if row["protocol"] != options.protocol or row["mixer"] not in options.mixers:
            continue
        if not weights_file(*key).exists():
            print(f"no weights of {key}, skipped")
            continue
        model, images = load(*key), Images(row["dataset"], "test", "cpu")
        for kept, cutoff in itertools.product(("below", "above"), CUTOFFS):
            accuracy, _ = evaluate(model, images, lambda x, k=kept, c=cutoff: filtered(x, k, c))
            accuracies.append((*key, kept, cutoff, round(accuracy, 2)))
            print(*accuracies[-1], flush=True)
        x = next(iter(images.in_order(IMAGES)))[0]
        for depth, shares in enumerate(feature_spectra(model, x)):
            spectra.append((*key, depth, *(round(share, 4) for share in shares)))
    write(HERE / "filtered.csv", (*KEY, "kept", "cutoff", "test_acc"), accuracies)
    write(HERE / "feature-spectra.csv", (*KEY, "depth", *OCTAVES), spectra)


if __name__ == "__main__":
    main()
