"""Accuracy of trained models at other input sizes than the one they were trained at; writes `resolution.csv`.

uv run python -m studies.mixers.resolution --protocol screen --mixers dsm gatedconv7 gfnet [--scales 0.75 1 1.5 2]

Test images are resized (bicubic, antialiased). Tables made for one grid (GFNet's filter, a position embedding) are
interpolated, as their papers do. Needs the weights that `run` left in `runs/mixers`.
"""

import argparse
from pathlib import Path

from torch import Tensor
from torch.nn.functional import interpolate

from studies.mixers.data import Images
from studies.mixers.run import KEY, evaluate, load, rows, weights_file, write

RESULTS = Path(__file__).with_name("resolution.csv")


def resize(x: Tensor, scale: float) -> Tensor:
    """Images at ``scale`` times their side."""
    if scale == 1:
        return x
    side = round(scale * x.shape[-1])
    return interpolate(x, (side, side), mode="bicubic", antialias=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", default="screen")
    parser.add_argument("--mixers", nargs="+", required=True)
    parser.add_argument("--scales", nargs="+", type=float, default=[0.75, 1, 1.5, 2])
    options = parser.parse_args()
    runs = [row for row in rows() if row["protocol"] == options.protocol and row["mixer"] in options.mixers]
    found = []
    for row in runs:
        key = tuple(row[field] for field in KEY)
        if not weights_file(*key).exists():
            print(f"no weights of {key}, skipped")
            continue
        model, images = load(*key), Images(row["dataset"], "test", "cpu")
        for scale in options.scales:
            accuracy, _ = evaluate(model, images, lambda x, scale=scale: resize(x, scale))
            found.append((*key, scale, round(accuracy, 2)))
            print(*found[-1], flush=True)
    write(RESULTS, (*KEY, "scale", "test_acc"), found)


if __name__ == "__main__":
    main()
