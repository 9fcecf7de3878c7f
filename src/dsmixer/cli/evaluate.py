"""`dsmixer evaluate`: a trained model measured on a data set; numbers on the console, everything in a folder."""

import sys
from pathlib import Path
from typing import Any

from dsmixer.cli import Parser, complain
from dsmixer.cli.options import read_yaml, resolve
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import add_settings, read_settings
from dsmixer.config import DataConfig, EvaluateConfig
from dsmixer.engine.folder import claim, give_back, new_folder
from dsmixer.weights import find, read_about

DATA = (
    "name",
    "root",
    "val_fraction",
    "workers",
    "worker_timeout",
    "max_bad",
)  # which images; the rest the weights say
WORST = 10  # classes on the console


def main(arguments: list[str]) -> int:
    """Evaluate; returns the exit code, 1 where the data cannot be read; ``ValueError`` for wrong asking."""
    asked, rest = _parser().parse_known_args(arguments)
    settings = read_settings(asked, EvaluateConfig)
    path = find(asked.weights)
    read_about(path)  # a mistake here is answered before torch is imported
    data = _data(path, rest)
    folder = _folder(asked.out, asked.overwrite)
    try:
        return _evaluate(path, data, settings, folder)
    finally:
        if asked.out is None:
            give_back(folder)


def _data(weights: Path, rest: list[str]) -> DataConfig:
    """What the run was trained on, changed by the command line."""
    for argument in rest:
        key = argument.partition("=")[0]
        if argument.startswith("--") and key.removeprefix("--data.") not in DATA:
            known = ", ".join(f"--data.{name}" for name in DATA)
            raise ValueError(f"{key} is no option of dsmixer evaluate; of the data there are {known}")
    config = weights.parent / "config.yaml"
    of_run = read_yaml(config.read_text(), str(config)).get("data", {}) if config.is_file() else {}
    given = {argument.partition("=")[0] for argument in rest}
    if not of_run and not given & {"--data.root", "--data.name"}:
        raise ValueError(f"{weights} does not say which images: give --data.root FOLDER or --data.name digits")
    elsewhere = ("name", "root") if given & {"--data.root", "--data.name"} else ()
    content = {"data": {name: of_run[name] for name in DATA if name in of_run and name not in elsewhere}}
    data = resolve(content, rest).data
    if data.root is not None:
        from dsmixer.data.splits import check_root

        check_root(data.name, data.root)
    return data


def _folder(out: str | None, overwrite: bool) -> Path:
    """Where the files go; its own folder, or ``out``, which holds nothing or an earlier evaluation to replace."""
    if out is None:
        return claim(new_folder(None, "evaluation", False))
    folder = Path(out)
    if folder.is_file():
        raise ValueError(f"--out {out} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "evaluation.json").is_file():
            raise ValueError(f"--out {out} is not empty, and holds no evaluation either; choose another")
        if not overwrite:
            raise ValueError(f"--out {out} holds an evaluation; choose another or add --overwrite")
    return folder


def _evaluate(path: Path, data: DataConfig, settings: EvaluateConfig, folder: Path) -> int:
    """The slow imports happen here."""
    from dsmixer.data.bad import BadFiles, DataError
    from dsmixer.engine.hardware import set_up
    from dsmixer.inference.evaluate import evaluate, open_split, pixels, write
    from dsmixer.inference.loading import load

    set_up(settings.threads, False)
    model = load(path, device=settings.device, precision=settings.precision)
    split, images, notes = open_split(data.name, data.root, settings.split, data.val_fraction)
    for note in notes:
        print(note)
    bad = BadFiles(None, data.max_bad, images, lambda line: print(f"warning: {line}", file=sys.stderr))
    passes = {model.about.image_size, *pixels(settings.sizes, model.about.image_size)}
    try:
        with bar(len(passes) * len(split.rows)) as advance:
            result, evaluation = evaluate(
                model,
                split,
                batch_size=settings.batch_size,
                sizes=settings.sizes,
                workers=data.workers,
                worker_timeout=data.worker_timeout,
                bad=bad,
                advance=advance,
            )
    except DataError as error:
        return complain(str(error), code=1)
    result = {"data": Path(data.root or data.name).name, "split": settings.split, **result}
    write(folder, result, evaluation, bad.reasons)
    _show(result, folder)
    return 0


def _show(result: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    low, high = result["top1_interval"]
    speed, conditions = result["speed"], result["conditions"]
    told = ("device", "processor", "precision", "threads", "batch_size", "workers")
    console.print(f"{result['architecture']} on the {result['images']:,} {result['split']} images of {result['data']}")
    console.print(f"top-1 {_percent(result['top1'])} (95 % interval {_percent(low)} to {_percent(high)})")
    console.print(f"top-5 {_percent(result['top5'])}   loss {result['loss']:.4f}")
    console.print(f"expected calibration error {_percent(result['calibration_error'])}")
    for row in result["sizes"]:
        found = row.get("error") or f"top-1 {_percent(row['top1'])}, {row['images_per_second']:,.0f} images/s"
        console.print(f"at {row['pixels']} pixels: {found}")
    console.print(
        f"{speed['images_per_second']:,.0f} images/s, decoding included; the network alone "
        f"{speed['network_images_per_second']:,.0f} images/s ("
        + ", ".join(f"{name.replace('_', ' ')} {conditions[name]}" for name in told)
        + ")"
    )
    classes = sorted(result["per_class"], key=lambda row: (row["f1"] is None, row["f1"]))
    title = "by F1, the lowest first" if len(classes) <= WORST else f"the {WORST} classes of lowest F1"
    table = Table(title=title)
    for heading in ("class", "images", "precision", "recall", "F1"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for row in classes[:WORST]:
        numbers = (_percent(row[name]) for name in ("precision", "recall", "f1"))
        table.add_row(row["class"], str(row["support"]), *numbers)
    console.print(table)
    console.print(f"see {folder}")


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.2f} %"


def _parser() -> Parser:
    parser = Parser(
        prog="dsmixer evaluate",
        usage="dsmixer evaluate RUN|WEIGHTS [--data.root FOLDER] [options]",
        description="Accuracy, per-class numbers, calibration, accuracy by input size and speed of a trained model. "
        "The data is that of the run, unless --data.root FOLDER or --data.name digits says otherwise.",
        allow_abbrev=False,
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="a run folder, a .safetensors file or a packaged name")
    parser.add_argument("--out", metavar="DIR", help="folder for the files; otherwise runs/evaluation-001 and so on")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation in --out")
    add_settings(parser, EvaluateConfig)
    return parser
