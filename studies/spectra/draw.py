"""Draw what the spectrum weights chose: digits, the spectrum of their tokens, and the gains each image got.

uv run python studies/spectra/draw.py runs/digits-001 docs/pictures/spectra.png

Top: one test image of each class. Middle: log power of the tokens that enter the first mixer, mean over channels.
Bottom: the dynamic gains of that mixer on the same frequencies, for the channel group whose gains differ most between
the test images; above 1 a band is emphasised, below 1 diminished. DC is top left, frequency grows to the right (width)
and downwards (height). The spread that is printed says how much all groups and bands differ on average.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import timm
import torch
from matplotlib import pyplot as plt
from safetensors import safe_open

import dsmixer  # noqa: F401 - registers the models
from dsmixer.data.splits import open_splits
from dsmixer.spectral import spectrum_weights


def load(folder: Path) -> tuple[torch.nn.Module, dict[str, str]]:
    """The finished model of a run, and what its file says of it."""
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        about = file.metadata()
    model = timm.create_model(
        about["architecture"],
        checkpoint_path=str(path),
        num_classes=int(about["num_classes"]),
        in_chans=int(about["in_chans"]),
        **json.loads(about["model_kwargs"]),
    )
    return model.eval(), about


def look(model: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log power (B, U, V) of the values entering the first mixer, and its gains (B, U, V, G) on the same grid."""
    seen = {}
    mixer = model.stages[0].blocks[0].mixer
    mixer.weights.gains.register_forward_hook(lambda _, args, gains: seen.update(spectrum=args[0], gains=gains))
    with torch.no_grad():
        model(images)
    height, width = seen["spectrum"].shape[1:3]
    power = seen["spectrum"].square().mean(-1).log10()
    return power, spectrum_weights(seen["gains"], height, width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    model, about = load(options.run)
    test = open_splits("digits", None, 0.1).test
    labels = test.source.labels[test.rows]
    pictures = np.stack([np.array(test.source.image(int(row), "L"), dtype=np.float32) / 255 for row in test.rows])
    mean, std = json.loads(about["mean"])[0], json.loads(about["std"])[0]
    power, gains = look(model, torch.from_numpy((pictures - mean) / std)[:, None])
    spread = gains.std(0)
    group = int(spread.mean((0, 1)).argmax())
    print(f"gains {gains.min():.2f} to {gains.max():.2f}; standard deviation between the {len(gains)} test images:")
    print(f"{spread.mean():.3f} over all groups, {spread[..., group].mean():.3f} in group {group}, which is drawn")

    rows = [int(np.flatnonzero(labels == label)[0]) for label in range(10)]
    pictures, power, gains = pictures[rows], power[rows], gains[rows][..., group]

    mpl.use("Agg")
    figure, axes = plt.subplots(3, len(rows), figsize=(len(rows), 3.4), layout="constrained")
    for column in range(len(rows)):
        axes[0, column].imshow(pictures[column], cmap="gray_r")
        axes[1, column].imshow(power[column], cmap="magma", vmin=float(power.min()), vmax=float(power.max()))
        shown = axes[2, column].imshow(gains[column], cmap="RdBu_r", vmin=0, vmax=2)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[:, 0], ("image", "log power", "gains"), strict=True):
        axis.set_ylabel(name)
    figure.colorbar(shown, ax=axes[2, :], shrink=0.9)
    figure.savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
