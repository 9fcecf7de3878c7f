"""What a finished run leaves to read: curves.png and report.md."""

import math
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsmixer.data.names import named
from dsmixer.engine.checkpoint import write_atomically
from dsmixer.engine.folder import told
from dsmixer.engine.logs import columns


def draw_curves(history: list[dict[str, float]], best_epoch: int, path: Path) -> None:
    """Every metric over the epochs, training and validation in one panel, the chosen epoch marked."""
    shown = [name for name in columns(history) if name.startswith(("train_", "val_"))]
    names = list(dict.fromkeys(name.partition("_")[2] for name in shown))
    figure = Figure(figsize=(5.2 * (len(names) + 1), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in history]
    for place, name in enumerate([*names, "lr"], 1):
        axes = figure.add_subplot(1, len(names) + 1, place)
        lines = ["lr"] if name == "lr" else [f"train_{name}", f"val_{name}"]
        for line in lines:
            if line in columns(history):
                axes.plot(
                    epochs,
                    [row.get(line, math.nan) for row in history],
                    marker="." if len(epochs) < 3 else "",
                    label=line,
                )
        axes.axvline(best_epoch, color="gray", linestyle=":", label=f"best epoch {best_epoch}")
        axes.set(xlabel="epoch", title="learning rate" if name == "lr" else name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    with named(path):
        figure.savefig(path, dpi=100)


def write_report(folder: Path, result: dict[str, Any], about: dict[str, Any], pictures: list[str]) -> None:
    """report.md: the result, how to use the weights, how to go on, and what it was measured on."""
    with_head = f" with {about['head']}" if about.get("head") else ""
    side = about["image_size"]
    size = f"{about['in_chans']} channels, any size" if about.get("head") else f"{about['in_chans']}x{side}x{side}"
    hardware = ", ".join(f"{name} {value}" for name, value in result["hardware"].items())
    lines = [
        f"# {about['architecture']}{with_head} on {result['data']}",
        "",
        f"Test: **{told(result['test'])}** ({result['test_images']:,} images, looked at once), with the weights of "
        f"epoch {result['best_epoch']} of {result['epochs']}, chosen on {result['val_images']:,} validation images.",
        "",
        f"Trained on {result['train_images']:,} images with seed {result['seed']} in {result['train_seconds']:.0f} s "
        f"({result['images_per_second']:,.0f} images/s); {result['parameters']:,} parameters.",
        "",
        "## Use the weights",
        "",
        "```python",
        *_use(about, folder / "model.safetensors"),
        "```",
        "",
        f"Input: {size}, scaled to 0 to 1, mean {about['mean']}, std {about['std']}. The file's metadata holds this "
        "and the class names.",
        "",
        "## Run it again, or go on with it",
        "",
        "```bash",
        f"{result['command']}",
        f"dsmixer train --resume {folder}",
        "```",
        "",
        "## Training",
        "",
        "![curves](curves.png)",
        "",
        "## Test images",
        "",
        *pictures,
        "",
        "## Measured on",
        "",
        hardware + ".",
        "",
    ]
    write_atomically(folder / "report.md", "\n".join(lines))


def _use(about: dict[str, Any], weights: Path) -> list[str]:
    """Python that loads the weights."""
    if about.get("head"):
        return ["import dsmixer", "", f'dsmixer.load("{weights}").predict("photo.jpg")']
    arguments = {"num_classes": about["num_classes"], "in_chans": about["in_chans"], **about["model_kwargs"]}
    call = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return [
        "import dsmixer  # registers our models with timm",
        "import timm",
        "",
        f'model = timm.create_model("{about["architecture"]}", checkpoint_path="{weights}", {call})',
    ]
