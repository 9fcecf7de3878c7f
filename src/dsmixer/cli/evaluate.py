"""`dsmixer evaluate`: a trained model measured on a data set; numbers on the console, everything in a folder."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsmixer.cli import Parser, complain, did_you_mean
from dsmixer.cli.evaluation import show_classes, show_objects, show_pixels
from dsmixer.cli.options import resolve
from dsmixer.cli.progress import bar
from dsmixer.cli.settings import add_settings, read_settings, refuse_idle
from dsmixer.config import FIND_OBJECTS, LABEL_PIXELS, MASK_CODING, READS, Config, EvaluateConfig, ViewsConfig
from dsmixer.engine.folder import check_place, claim, give_back, new_folder
from dsmixer.inference.origin import run_config
from dsmixer.weights import About, find, read_about

if TYPE_CHECKING:
    from dsmixer.data.bad import BadFiles

# which images, and how masks are to be read; the rest the weights say
ASKED = {
    "data": ("name", "root", "val_fraction", "allow_outside", "workers", "worker_timeout", "max_bad"),
    "masks": MASK_CODING,
}
VIEWS = ("window", "stride", "scales", "flip")


def main(arguments: list[str]) -> int:
    """Evaluate; returns the exit code, 1 where the data cannot be read; ``ValueError`` for wrong asking."""
    asked, rest = _parser().parse_known_args(arguments)
    settings = read_settings(asked, EvaluateConfig)
    path = find(asked.weights)
    about = read_about(path)  # a mistake here is answered before torch is imported
    config = _config(path, about, rest)
    check_kind(about.head, settings)
    folder = _folder(asked.out, asked.overwrite)
    try:
        return _evaluate(path, about, config, settings, folder)
    finally:
        if asked.out is None:
            give_back(folder)


def check_kind(head: str | None, settings: EvaluateConfig) -> None:
    """Raise ``ValueError`` for options that weights of this kind do not look at."""
    if head is None:
        return refuse_idle(settings, VIEWS, "a classifier")
    what = f"{head}, which takes one image at a time,"
    refuse_idle(settings, ("batch_size", *(VIEWS if head in FIND_OBJECTS else ())), what)
    if settings.split == "all":
        raise ValueError(f"--split all is for classes; for {head} choose train, val or test")
    if any(not 0 < size <= 8 for size in settings.sizes):
        raise ValueError(f"--sizes are {settings.sizes}, but for {head} they are factors above 0 and up to 8")
    return None


def _config(weights: Path, about: About, rest: list[str]) -> Config:
    """What the run was trained on, changed by the command line."""
    sections = ("data", "masks") if about.head in LABEL_PIXELS else ("data",)
    known = [f"--{section}.{name}" for section in sections for name in ASKED[section]]
    for argument in rest:
        key = argument.partition("=")[0].removesuffix("+")
        if argument.startswith("--") and key not in known:
            hint = did_you_mean(key, [*known, *_parser().options]) or f"of the data there are {', '.join(known)}"
            raise ValueError(f"{key} is no option of dsmixer evaluate; {hint}")
    of_run = run_config(weights)
    elsewhere = bool({argument.partition("=")[0] for argument in rest} & {"--data.root", "--data.name"})
    if not of_run.get("data") and not elsewhere:
        digits = "" if about.head else " or --data.name digits"
        raise ValueError(f"{weights} does not say which images: give --data.root FOLDER{digits}")
    left_out = ("name", "root") if elsewhere else ()
    content: dict[str, Any] = {
        section: {name: of_run[section][name] for name in ASKED[section] if name in of_run.get(section, {})}
        for section in sections
    }
    content["data"] = {name: value for name, value in content["data"].items() if name not in left_out}
    config = resolve({**content, "model": {"head": about.head}}, rest)
    if config.data.root is not None:
        from dsmixer.data.splits import check_root

        kind = READS.get(str(about.head), config.data.name)
        check_root(kind, config.data.root)
        if elsewhere and kind == "masks" and not any(argument.startswith("--masks.classes") for argument in rest):
            from dsmixer.data.masks.classes import class_file

            if class_file(config.data.root):  # names that stand beside the masks are theirs, the run's may not be
                config.masks.classes = None
    return config


def _folder(out: str | None, overwrite: bool) -> Path:
    """Where the files go; its own folder, or ``out``, which holds nothing or an earlier evaluation to replace."""
    if out is None:
        return claim(new_folder(None, "evaluation", False))
    folder = Path(out)
    check_place(folder)
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "evaluation.json").is_file():
            raise ValueError(f"--out {out} is not empty, and holds no evaluation either; choose another")
        if not overwrite:
            raise ValueError(f"--out {out} holds an evaluation; choose another or add --overwrite")
    return folder


def _evaluate(path: Path, about: About, config: Config, settings: EvaluateConfig, folder: Path) -> int:
    """The slow imports happen here."""
    from dsmixer.data.bad import BadFiles, DataError
    from dsmixer.engine.checkpoint import CheckpointError
    from dsmixer.engine.hardware import set_up
    from dsmixer.inference.loading import load
    from dsmixer.inference.written import write

    set_up(settings.threads, False)
    model = load(path, device=settings.device, precision=settings.precision)
    judge, show = _classes, show_classes
    if about.head:
        judge, show = (_objects, show_objects) if about.head in FIND_OBJECTS else (_pixels, show_pixels)

    def told(images: int) -> BadFiles:
        return BadFiles(None, config.data.max_bad, images, lambda line: print(f"warning: {line}", file=sys.stderr))

    try:
        result, draw, bad = judge(model, config, settings, told)
        result = {"data": Path(config.data.root or config.data.name).name, "split": settings.split, **result}
        write(folder, result, draw, bad.reasons)
    except (CheckpointError, DataError) as error:
        return complain(str(error), code=1)
    show(result)
    print(f"see {folder}")
    return 0


Judged = tuple[dict[str, Any], Callable[[Path], Any], "BadFiles"]
Told = Callable[[int], "BadFiles"]


def _classes(model: Any, config: Config, settings: EvaluateConfig, told: Told) -> Judged:
    from dsmixer.inference.evaluate import draw, evaluate, open_split, pixels

    data = config.data
    split, images, notes = open_split(data.name, data.root, settings.split, data.val_fraction, data.allow_outside)
    for note in notes:
        print(note)
    passes, bad = {model.about.image_size, *pixels(settings.sizes, model.about.image_size)}, told(images)
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
    return result, lambda folder: draw(result, evaluation, folder), bad


def _pixels(model: Any, config: Config, settings: EvaluateConfig, told: Told) -> Judged:
    from dsmixer.data.masks.folders import open_masks
    from dsmixer.inference.evaluate_pixels import evaluate_pixels, looks

    data = config.data
    splits = open_masks(str(data.root), val_fraction=data.val_fraction, **config.masks.coding)
    split, bad = _part(splits, settings), told(splits.images)
    ways = looks(model, settings.sizes, settings.views)
    if settings.sizes and not settings.window:  # whole or through windows: the table shows both
        ways |= looks(model, (), ViewsConfig(window=model.about.image_size).views)
    with bar(len(ways) * len(split.rows)) as advance:
        options = {"workers": data.workers, "worker_timeout": data.worker_timeout, "advance": advance}
        result, task = evaluate_pixels(model, split, ways, bad=bad, **options)
    return result, task.report, bad


def _objects(model: Any, config: Config, settings: EvaluateConfig, told: Told) -> Judged:
    from dsmixer.data.boxes.survey import open_boxes
    from dsmixer.inference.evaluate_objects import evaluate_objects

    data = config.data
    splits = open_boxes(str(data.root), data.val_fraction)
    split, bad = _part(splits, settings), told(splits.images)
    with bar(len({1.0, *settings.sizes}) * len(split.rows)) as advance:
        options = {"workers": data.workers, "worker_timeout": data.worker_timeout, "advance": advance}
        result, task = evaluate_objects(model, split, sizes=settings.sizes, bad=bad, **options)
    return result, task.report, bad


def _part(splits: Any, settings: EvaluateConfig) -> Any:
    """The split that was asked for; what is worth saying of all of them is said."""
    for note in splits.notes:
        print(note)
    return splits.part(settings.split)


def _parser() -> Parser:
    parser = Parser(
        prog="dsmixer evaluate",
        usage="dsmixer evaluate RUN|WEIGHTS [--data.root FOLDER] [options]",
        description="What a trained model is worth: accuracy and calibration of classes, mIoU and boundary IoU of "
        "pixels, COCO's average precision of objects; for each class, by input size, with the speed. The data is that "
        "of the run, unless --data.root FOLDER or --data.name digits says otherwise.",
        allow_abbrev=False,
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="a run folder, a .safetensors file or a packaged name")
    parser.add_argument("--out", metavar="DIR", help="folder for the files; otherwise runs/evaluation-001 and so on")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation in --out")
    add_settings(parser, EvaluateConfig)
    return parser
