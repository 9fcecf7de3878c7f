"""Draw what the spectrum weights chose: digits, the spectrum of their tokens, and the gains each image got.

uv run python studies/spectra/draw.py runs/digits-001 docs/pictures/spectra.png

Of all mixers with at least 64 tokens, the channel of a value or a gate whose gains differ most between the test images
is drawn. Top: one test image of each class. Middle: log power of this channel's spectrum. Bottom: log2 of the dynamic
gains on the same frequencies; above 0 a ring is emphasised, below 0 diminished. DC is top left, frequency grows to the
right (width) and downwards (height). What is printed says how much all gains differ on average.
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
from dsmixer.layers import DynamicGains


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


def look(model: torch.nn.Module, images: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Power and log2 gains, both (B, U, V, C), of every mixer with at least 64 tokens, by name."""
    seen = {}

    def remember(name: str):
        return lambda _, args, gains: seen.update({name: (args[0], gains)})

    for name, module in model.named_modules():
        if isinstance(module, DynamicGains):
            module.register_forward_hook(remember(name))
    with torch.no_grad():
        model(images)
    found = {}
    for name, (spectrum, gains) in seen.items():
        height, width = spectrum.shape[1:3]
        if height * width >= 64:
            found[name] = spectrum.square(), gains.log2()
    return found


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
    found = look(model, torch.from_numpy((pictures - mean) / std)[:, None])
    spreads = {name: gains.std(0).mean((0, 1)) for name, (_, gains) in found.items()}
    for name, spread in spreads.items():
        print(f"{name}: standard deviation of log2 gains between {len(pictures)} test images {spread.mean():.3f}")
    name = max(spreads, key=lambda name: float(spreads[name].max()))
    channel = int(spreads[name].argmax())
    print(f"drawn: {name}, channel {channel}, standard deviation {spreads[name][channel]:.3f}")

    rows = [int(np.flatnonzero(labels == label)[0]) for label in range(10)]
    power, gains = (values[rows][..., channel] for values in found[name])
    pictures, power = pictures[rows], (power + 1e-6).log10()

    mpl.use("Agg")
    figure, axes = plt.subplots(3, len(rows), figsize=(len(rows), 3.4), layout="constrained")
    for column in range(len(rows)):
        axes[0, column].imshow(pictures[column], cmap="gray_r")
        axes[1, column].imshow(power[column], cmap="magma", vmin=float(power.min()), vmax=float(power.max()))
        shown = axes[2, column].imshow(gains[column], cmap="RdBu_r", vmin=-1, vmax=1)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[:, 0], ("image", "log power", "log2 gains"), strict=True):
        axis.set_ylabel(name)
    figure.colorbar(shown, ax=axes[2, :], shrink=0.9)
    figure.savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
