"""An evaluation on the console."""

from typing import Any

WORST = 10  # classes that are shown


def show_classes(result: dict[str, Any]) -> None:
    """Of a classifier."""
    low, high = result["top1_interval"]
    speed, conditions = result["speed"], result["conditions"]
    told = ("device", "processor", "precision", "threads", "batch_size", "workers")
    _print(f"{result['architecture']} on the {result['images']:,} {result['split']} images of {result['data']}")
    _print(f"top-1 {_percent(result['top1'])} (95 % interval {_percent(low)} to {_percent(high)})")
    _print(f"top-5 {_percent(result['top5'])}   loss {result['loss']:.4f}")
    _print(f"expected calibration error {_percent(result['calibration_error'])}")
    for row in result["sizes"]:
        found = row.get("error") or f"top-1 {_percent(row['top1'])}, {row['images_per_second']:,.0f} images/s"
        _print(f"at {row['pixels']} pixels: {found}")
    _print(
        f"{speed['images_per_second']:,.0f} images/s, decoding included; the network alone "
        f"{speed['network_images_per_second']:,.0f} images/s ("
        + ", ".join(f"{name.replace('_', ' ')} {conditions[name]}" for name in told)
        + ")"
    )
    classes = sorted(result["per_class"], key=lambda row: (row["f1"] is None, row["f1"]))
    title = "by F1, the lowest first" if len(classes) <= WORST else f"the {WORST} classes of lowest F1"
    headings = {"class": "class", "images": "support", "precision": "precision", "recall": "recall", "F1": "f1"}
    _table(title, headings, classes[:WORST])


def show_pixels(result: dict[str, Any]) -> None:
    """Of a segmenter."""
    _heading(result)
    scores = {"mIoU": "mIoU", "aAcc": "aAcc", "mAcc": "mAcc", "boundary IoU": "boundary_IoU"}
    _table("scores", {"looked at": "look", **scores, "images/s": "images_per_second"}, result["looks"])
    classes = sorted(result["per_class"], key=lambda row: (row["iou"] is None, row["iou"]))
    title = "by IoU, the lowest first" if len(classes) <= WORST else f"the {WORST} classes of lowest IoU"
    headings = {"class": "class", "pixels": "pixels", "IoU": "iou", "recall": "recall", "boundary IoU": "boundary_iou"}
    _table(title, headings, classes[:WORST])


def show_objects(result: dict[str, Any]) -> None:
    """Of a detector."""
    _heading(result)
    names = [
        name for name in result["sizes"][0] if name not in ("size", "images_per_second", "network_images_per_second")
    ]
    headings = {"size": "size", **{name: name for name in names}, "images/s": "images_per_second"}
    _table("average precision, by size of the input", headings, result["sizes"])
    classes = sorted(result["per_class"], key=lambda row: (row["AP"] is None, row["AP"]))
    masks = {"mask AP": "mask_AP"} if "mask_AP" in classes[0] else {}
    title = "by AP, the lowest first" if len(classes) <= WORST else f"the {WORST} classes of lowest AP"
    _table(title, {"class": "class", "objects": "objects", "AP": "AP", **masks}, classes[:WORST])


def _heading(result: dict[str, Any]) -> None:
    what = f"{result['architecture']} with {result['head']}"
    _print(f"{what} on the {result['images']:,} {result['split']} images of {result['data']}")


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
    if key == "images_per_second":
        return f"{value:,.1f}"
    if isinstance(value, str):
        return value
    if key in ("support", "pixels", "objects"):
        return f"{value:,}"
    return f"{value:g} x" if key == "size" else _percent(value)


def _print(what: Any) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, soft_wrap=True).print(what)


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.2f} %"
