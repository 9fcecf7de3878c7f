"""Tables and plots of `results.csv`: mean ± standard deviation over seeds.

uv run python -m studies.mixers.table --protocol final [--mixers dsm gatedconv7] [--plot final.png]
uv run python -m studies.mixers.table --question 1-dynamic

All mixers of a seed see the same images in the same order, so the runs of a seed on one kind of device are a pair:
"behind" is the mean difference to the question's first mixer over the pairs, ± its standard error; the spread is pooled
over all mixers of the protocol and data set, for three pairs say little of their own, and not stated where all of
them say little. "ms/image" is the time of
training an image on one idle CPU core, measured side by side (`speed-cpu.csv`); the rates in `results.csv` are of
shared machines.
"""

import argparse
import csv
import statistics
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from studies.mixers.mixers import QUESTIONS
from studies.mixers.peers import PEERS
from studies.mixers.run import rows

DEFAULT = "dsm"
FREEDOM = 5  # of a spread, at least


class Summary(NamedTuple):
    """One mixer on one data set."""

    mixer: str
    dataset: str
    runs: int
    accuracy: float
    deviation: float  # over seeds; 0 for a single one
    test_loss: float
    train_loss: float
    params: int
    macs: int
    milliseconds: str  # of training an image, measured by `speed` on an idle CPU; empty where that was not done
    behind: list[float]  # the first mixer's accuracy minus this one's, a number a pair
    error: float = 0.0  # standard error of the mean of ``behind``, from the spread of all pairs of the data set


def summaries(
    results: list[dict[str, str]], protocol: str, mixers: Collection[str] | None = None, baseline: str = DEFAULT
) -> list[Summary]:
    """Best first within each data set; differences are to ``baseline``."""
    runs = defaultdict(list)
    for row in results:
        if row["protocol"] == protocol:
            runs[row["dataset"], row["mixer"]].append(row)
    found, speed = [], milliseconds(protocol)
    for (dataset, mixer), same in runs.items():
        values = {field: [float(row[field]) for row in same] for field in FIELDS}
        accuracy = values["test_acc"]
        deviation = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
        means = (statistics.fmean(values[field]) for field in ("test_loss", "train_loss"))
        size = (int(same[0]["params"]), int(same[0]["macs"]))
        base = {pair(row): float(row["test_acc"]) for row in runs.get((dataset, baseline), ())}
        others = same if mixer != baseline else []
        behind = [base[pair(row)] - float(row["test_acc"]) for row in others if pair(row) in base]
        mean = statistics.fmean(accuracy)
        found.append(
            Summary(mixer, dataset, len(same), mean, deviation, *means, *size, speed.get((dataset, mixer), ""), behind)
        )
    wanted = [s for s in with_errors(found) if mixers is None or s.mixer in mixers]
    return sorted(wanted, key=lambda s: (s.dataset, -s.accuracy))


def with_errors(found: list[Summary]) -> list[Summary]:
    """Three pairs say little of their spread: it is pooled over all mixers of a data set."""
    pooled = {}
    for dataset in {s.dataset for s in found}:
        several = [s.behind for s in found if s.dataset == dataset and len(s.behind) > 1]
        freedom = sum(len(pairs) - 1 for pairs in several)
        squares = sum((len(pairs) - 1) * statistics.variance(pairs) for pairs in several)
        pooled[dataset] = (squares / freedom) ** 0.5 if freedom >= FREEDOM else 0.0
    return [s._replace(error=pooled[s.dataset] / len(s.behind) ** 0.5) if s.behind else s for s in found]


def milliseconds(protocol: str) -> dict[tuple[str, str], str]:
    """Training time an image, by data set and mixer; it is measured on one of the sets."""
    with SPEED.open() as lines:
        measured = [row for row in csv.DictReader(lines) if row["protocol"] == protocol]
    return {("cifar10", row["mixer"]): row["train_ms_per_image"] for row in measured}


def pair(row: dict[str, str]) -> tuple[str, ...]:
    """What a run shares with those that it is compared with: batches, arithmetic and random weights."""
    return row["seed"], row["device"], row["torch"]


SPEED = Path(__file__).with_name("speed-cpu.csv")
COLUMNS = (
    "mixer", "runs", "test accuracy", "behind {}", "test loss", "train loss", "parameters", "MACs", "ms/image",
)  # fmt: skip
FIELDS = ("test_acc", "test_loss", "train_loss")


def markdown(found: list[Summary], baseline: str = DEFAULT) -> str:
    """One table a data set."""
    lines = []
    for dataset in dict.fromkeys(s.dataset for s in found):
        lines += [
            f"**{dataset}**",
            "",
            f"| {' | '.join(COLUMNS).format(baseline)} |",
            "|---" * len(COLUMNS) + "|",
        ]
        for s in (s for s in found if s.dataset == dataset):
            spread = f" ± {s.deviation:.2f}" if s.runs > 1 else ""
            lines.append(
                f"| {s.mixer} | {s.runs} | {s.accuracy:.2f}{spread} | {difference(s)} "
                f"| {s.test_loss:.3f} | {s.train_loss:.3f} "
                f"| {s.params / 1e3:.0f}k | {s.macs / 1e6:.1f}M | {s.milliseconds} |"
            )
        lines.append("")
    return "\n".join(lines)


def difference(s: Summary) -> str:
    """How far behind the first, with its standard error."""
    if not s.behind:
        return ""
    error = f" ± {s.error:.2f}" if s.error else ""
    return f"{statistics.fmean(s.behind):+.2f}{error}"


def plot(found: list[Summary], file: Path) -> None:
    """Accuracy with its deviation, a row a mixer, a column a data set."""
    from matplotlib.figure import Figure

    datasets = list(dict.fromkeys(s.dataset for s in found))
    most = max(sum(s.dataset == dataset for s in found) for dataset in datasets)
    figure = Figure((5 * len(datasets), 1 + 0.25 * most), layout="constrained")
    for axes, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        here = [s for s in reversed(found) if s.dataset == dataset]
        colors = ["tab:blue" if s.mixer in PEERS else "tab:red" for s in here]
        for row, (s, color) in enumerate(zip(here, colors, strict=True)):
            axes.errorbar(s.accuracy, row, xerr=s.deviation, fmt="o", color=color, capsize=2)
        axes.set_yticks(range(len(here)), [s.mixer for s in here])
        axes.grid(axis="x", alpha=0.3)
        axes.set(title=dataset, xlabel="test accuracy, %")
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", default="final")
    parser.add_argument("--question", choices=QUESTIONS)
    parser.add_argument("--mixers", nargs="+")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.question:
        options.protocol, options.mixers = QUESTIONS[options.question]
    baseline = options.mixers[0] if options.mixers else DEFAULT
    found = summaries(rows(), options.protocol, options.mixers, baseline)
    if not found:
        raise SystemExit(f"no run of protocol {options.protocol!r} in results.csv")
    print(markdown(found, baseline))
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
