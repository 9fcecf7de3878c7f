"""Do the features hold both frequencies? Their spectra by depth.

uv run python -m studies.mixers.frequencies --protocol final --mixers dsm gatedconv7 attention

Writes `feature-spectra.csv`: the share of each octave in the AC power of every stage's features. Needs the weights that
`run` left in `runs/mixers`. Accuracy on filtered images is in `shifts.py`.
"""

import argparse
import itertools
from pathlib import Path

import torch
from torch import Tensor

from dsmixer.spectral import dct2
from studies.mixers.data import radius
from studies.mixers.frame import Frame
from studies.mixers.run import KEY, load, opened, trained, write

HERE = Path(__file__).parent
IMAGES = 1000
OCTAVES = ("below 1/16", "1/16 to 1/8", "1/8 to 1/4", "above 1/4")


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
    parser.add_argument("--protocol", default="final")
    parser.add_argument("--mixers", nargs="+", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    spectra = []
    for key in trained(options.protocol, options.mixers):
        x = next(iter(opened(key[1], "test", options.device, None, False).in_order(IMAGES)))[0]
        for depth, shares in enumerate(feature_spectra(load(*key).to(options.device), x)):
            spectra.append((*key, depth, *(round(share, 4) for share in shares)))
    write(HERE / "feature-spectra.csv", (*KEY, "depth", *OCTAVES), spectra)


if __name__ == "__main__":
    main()
