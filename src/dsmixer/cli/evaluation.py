"""An evaluation on the console."""

from typing import Any

WORST = 10  # classes that are shown
RATE = "images_per_second"


def show_classes(result: dict[str, Any]) -> None:
    """Of a classifier."""
    low, high = result["top1_interval"]
    _print(f"{result['architecture']} on the {result['images']:,} {result['split']} images of {result['data']}")
    _print(f"top-1 {_percent(result['top1'])} (95 % interval {_percent(low)} to {_percent(high)})")
    _print(f"top-5 {_percent(result['top5'])}   loss {result['loss']:.4f}")
    _print(f"expected calibration error {_percent(result['calibration_error'])}")
    for row in result["sizes"]:
        found = row.get("error") or f"top-1 {_percent(row['top1'])}, {row['images_per_second']:,.0f} images/s"
        _print(f"at {row['pixels']} pixels: {found}")
    _speed(result["speed"], result["conditions"])
    columns = {"class": "class", "images": "support", "precision": "precision", "recall": "recall", "F1": "f1"}
    _worst(result["per_class"], "F1", columns)


def show_pixels(result: dict[str, Any]) -> None:
    """Of a segmenter."""
    _heading(result)
    scores = {"mIoU": "mIoU", "aAcc": "aAcc", "mAcc": "mAcc", "boundary IoU": "boundary_IoU"}
    _table("scores", {"looked at": "look", **scores, "loss": "loss", "images/s": RATE}, result["looks"])
    _failures(result["looks"], "look")
    _speed(result["looks"][0], result["conditions"])
    columns = {"class": "class", "pixels": "pixels", "IoU": "iou", "recall": "recall", "boundary IoU": "boundary_iou"}
    _worst(result["per_class"], "IoU", columns)


def show_objects(result: dict[str, Any]) -> None:
    """Of a detector."""
    _heading(result)
    names = [name for name in result["sizes"][0] if name not in ("size", RATE, f"network_{RATE}")]
    headings = {"size": "size", **{name: name for name in names}, "images/s": RATE}
    _table("average precision, by size of the input", headings, result["sizes"])
    _failures(result["sizes"], "size")
    _speed(result["sizes"][0], result["conditions"])
    masks = {"mask AP": "mask_AP"} if "mask_AP" in result["per_class"][0] else {}
    _worst(result["per_class"], "AP", {"class": "class", "objects": "objects", "AP": "AP", **masks})


def _worst(rows: list[dict[str, Any]], score: str, columns: dict[str, str]) -> None:
    """A table of the classes of lowest ``score``, the heading of one of the columns; those without one are last."""
    key = columns[score]
    rows = sorted(rows, key=lambda row: (row[key] is None, row[key]))
    title = f"by {score}, the lowest first" if len(rows) <= WORST else f"the {WORST} classes of lowest {score}"
    _table(title, columns, rows[:WORST])


def _heading(result: dict[str, Any]) -> None:
    what = f"{result['architecture']} with {result['head']}"
    _print(f"{what} on the {result['images']:,} {result['split']} images of {result['data']}")


def _speed(speed: dict[str, Any], conditions: dict[str, Any]) -> None:
    """Images a second, and what they depend on."""
    told = ("device", "processor", "precision", "threads", "batch_size", "workers")
    on = ", ".join(f"{name.replace('_', ' ')} {conditions[name]}" for name in told)
    rates = _rate(speed[RATE]), _rate(speed[f"network_{RATE}"])
    _print(f"{rates[0]} images/s, decoding included; the network alone {rates[1]} images/s ({on})")


def _rate(images: float) -> str:
    return f"{images:,.0f}" if images >= 100 else f"{images:.1f}"


def _failures(rows: list[dict[str, Any]], key: str) -> None:
    """Why there are no numbers."""
    for row in rows:
        if "error" in row:
            _print(f"{_cell(key, row[key])}: {row['error']}")


def _table(title: str, columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """``columns``: heading to key. Shares, which are floats but for sizes and speeds, are shown in percent."""
    from rich.table import Table

    table = Table(title=title)
    for heading, key in columns.items():
        table.add_column(heading, justify="left" if key in ("class", "look") else "right")
    for row in rows:
        table.add_row(*(_cell(key, row.get(key)) for key in columns.values()))
    _print(table)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "n/a"
    if key == RATE:
        return _rate(value)
    if key == "loss":
        return f"{value:.4f}"
    if isinstance(value, str):
        return value
    if key in ("support", "pixels", "objects"):
        return f"{value:,}"
    return f"{value:g} x" if key == "size" else _percent(value)


def _print(what: Any) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(what)


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.2f} %"
