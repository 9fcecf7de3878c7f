"""`dsmixer weights`: a run's weights in half precision, with a card, named as timm names pretrained weights."""

from pathlib import Path

from dsmixer.cli import Parser, complain
from dsmixer.engine.folder import finished_result
from dsmixer.weights import find, read_about


def main(arguments: list[str]) -> int:
    """Write the file and its card; returns the exit code, 1 on a full disk; ``ValueError`` for wrong asking."""
    parser = Parser(prog="dsmixer weights", description=__doc__, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="a run folder, or a .safetensors file of one")
    parser.add_argument("--tag", required=True, help="what it was trained on: ARCHITECTURE.TAG will be its name")
    parser.add_argument("--out", default=".", metavar="DIR", help="where to write (default: here)")
    asked = parser.parse_args(arguments)
    weights = find(asked.run)
    read_about(weights)

    from dsmixer.engine.checkpoint import CheckpointError
    from dsmixer.inference.package import package

    try:
        file, card = package(weights, asked.tag, Path(asked.out), finished_result(weights.parent))
    except CheckpointError as error:
        return complain(str(error), code=1)
    print(f"{file} ({file.stat().st_size / 1e6:.2f} MB) and {card}")
    print(f"measure what rounding cost: dsmixer evaluate {file} --data.root FOLDER")
    return 0
