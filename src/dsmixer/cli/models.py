"""`dsmixer models`: the variants, with what they cost at a given size."""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from dsmixer.cli import Parser
from dsmixer.cli.progress import bar
from dsmixer.data.names import first_line
from dsmixer.weights import packaged, variant_and_tag


@dataclass(frozen=True)
class Cost:
    """What one model costs, counted on the meta device: exact, and free of any arithmetic."""

    name: str
    parameters: int
    macs: int
    """Multiply-accumulates of one forward pass over one image: matrix products and convolutions."""
    activations: int
    """Bytes kept for the backward pass of one image, in float32."""

    @property
    def training_bytes(self) -> int:
        """Memory to train with one image in float32: weights, gradients, two AdamW moments, kept activations."""
        return 16 * self.parameters + self.activations


def cost(name: str, height: int, width: int, **options) -> Cost:
    """Count parameters, MACs and memory of any timm model at one input size."""
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.device("meta"):
        model = timm.create_model(name, **options)
        image = torch.empty(1, getattr(model, "in_chans", 3), height, width)
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            model.eval()(image)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.train()(image)
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in kept}
    return Cost(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=flops.get_total_flops() // 2,
        activations=sum(size for storage, size in storages.items() if storage not in weights),
    )


class Row(NamedTuple):
    """A model's cost, or why it does not take images of this size."""

    name: str
    cost: Cost | None
    error: str


def row(name: str, height: int, width: int) -> Row:
    """`cost`, so that a model that fails takes no other along."""
    try:
        return Row(name, cost(name, height, width), "")
    except Exception as error:  # any of a thousand models that are not ours
        return Row(name, None, first_line(error))


def main(argv: list[str]) -> int:
    """Print a table of the models whose names match."""
    options = _parser().parse_args(argv)
    height, width = _size(options.size)

    import timm

    import dsmixer  # noqa: F401 - registers the models

    names = [name for name in timm.list_models(options.filter) if options.all or name.startswith("dsm_")]
    if not names:
        raise ValueError(f"no model matches {options.filter!r}; try 'dsm_*'" + ("" if options.all else " or add --all"))
    tags = {name: [] for name in names}
    for packaged_name in packaged():
        variant, tag = variant_and_tag(packaged_name)
        backbone, _, head = variant.partition("-")
        tags.setdefault(backbone, []).append(packaged_name if head else tag)
    if options.csv:
        _print_csv((row(name, height, width) for name in names), tags)
        return 0
    with bar(len(names)) as advance:
        rows = []
        for name in names:
            rows.append(row(name, height, width))
            advance(1)
    _print_table([found.cost for found in rows if found.cost], tags, height, width)
    for found in rows:
        if found.error:
            print(f"{found.name}: {found.error}")
    return 0


def _parser() -> Parser:
    parser = Parser(prog="dsmixer models", description=__doc__)
    parser.add_argument("filter", nargs="?", default="dsm_*", help="name or pattern (default: %(default)s)")
    parser.add_argument("--size", default="224", metavar="N|HxW", help="input size in pixels (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="any timm model that matches, not ours alone")
    parser.add_argument("--csv", action="store_true", help="plain numbers, comma-separated")
    return parser


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise ValueError(f"--size {text!r} is not a size; write 224 or 480x640 (height x width)")
    return int(sides[0]), int(sides[-1])


def _print_csv(rows: Iterable[Row], tags: dict[str, list[str]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["name", "parameters", "macs", "activation_bytes", "training_bytes", "packaged_weights", "error"])
    for name, found, error in rows:
        numbers = (found.parameters, found.macs, found.activations, found.training_bytes) if found else [""] * 4
        writer.writerow([name, *numbers, " ".join(tags[name]), error])
        sys.stdout.flush()


def _print_table(costs: list[Cost], tags: dict[str, list[str]], height: int, width: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"at {height} x {width}, one image, float32")
    for heading in ("model", "parameters", "MACs", "weights", "to train", "packaged weights"):
        table.add_column(heading, justify="left" if heading in ("model", "packaged weights") else "right")
    for found in sorted(costs, key=lambda found: found.parameters):
        table.add_row(
            found.name,
            f"{found.parameters / 1e6:.2f} M",
            f"{found.macs / 1e9:.3f} G",
            f"{4 * found.parameters / 2**20:.0f} MiB",
            f"{found.training_bytes / 2**20:.0f} MiB",
            ", ".join(tags[found.name]) or "-",
        )
    Console().print(table)
