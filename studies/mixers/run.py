"""Train mixers in one frame; one row a run in `results.csv`. A run that is there is skipped: stop and go on at will.
One on a CPU and one on a GPU are two runs.

uv run python -m studies.mixers.run --protocol screen --datasets cifar10 tiny --mixers dsm gatedconv7 --seeds 0 1 2
uv run python -m studies.mixers.run --question 1-dynamic                         # the runs of one page
uv run python -m studies.mixers.run --protocol final --device cuda --workers 12 --together 4
"""

import argparse
import csv
import functools
import itertools
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from studies.mixers.capture import CapturedTraining, interleaved
from studies.mixers.data import CLASSES, Images
from studies.mixers.frame import build, grid_sides, num_macs, num_params
from studies.mixers.mixers import MIXERS, QUESTIONS, Question
from studies.mixers.peers import PEERS
from studies.mixers.protocols import PROTOCOLS, Protocol

RESULTS = Path(__file__).with_name("results.csv")
WEIGHTS = Path(__file__).resolve().parents[2] / "runs" / "mixers"
FIELDS = (
    "protocol", "dataset", "mixer", "seed", "params", "macs", "train_images_per_s", "test_acc", "test_loss",
    "train_loss", "epochs", "images", "tokens", "widths", "device", "torch",
)  # fmt: skip
KEY = ("protocol", "dataset", "mixer", "seed")
Job = tuple[str, str, str, int]
T = TypeVar("T")


def optimizer_for(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """AdamW; vectors (norms, biases, layer scale) are not decayed, as in timm."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": protocol.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    on_gpu = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, protocol.lr, fused=True, capturable=on_gpu)


def learning_rates(protocol: Protocol, images: Images) -> list[float]:
    """Of every step of a run: linear warm-up over a tenth of it, then half a cosine to 0."""
    steps = protocol.epochs * (len(images) // protocol.batch_size)

    def rate(progress: float) -> float:
        if progress < 0.1:
            return protocol.lr * progress / 0.1
        return protocol.lr * 0.5 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9))

    return [rate((step + 1) / steps) for step in range(steps)]


def update(model: nn.Module, x: Tensor, y: Tensor, protocol: Protocol, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step of the optimizer; the loss before it."""
    loss = cross_entropy(model(x), y, label_smoothing=protocol.label_smoothing)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), protocol.clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def train(model: nn.Module, images: Images, protocol: Protocol, seed: int) -> float:
    """Mean loss of the last epoch."""
    model.train()
    optimizer = optimizer_for(model, protocol)
    losses = []
    batches = (batch for epoch in range(protocol.epochs) for batch in images.epoch(protocol.batch_size, seed, epoch))
    for rate, (x, y) in zip(learning_rates(protocol, images), batches, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses.append(update(model, x, y, protocol, optimizer))
    return of_last_epoch(torch.stack(losses), protocol)


def of_last_epoch(losses: Tensor, protocol: Protocol) -> float:
    """Mean of a run's losses, one a step, over its last epoch."""
    return float(losses[-(len(losses) // protocol.epochs) :].mean())


@torch.no_grad()
def evaluate(model: nn.Module, images: Images, transform=lambda x: x) -> tuple[float, float]:
    """Accuracy in percent and mean cross-entropy in nats."""
    model.eval()
    right, loss = torch.zeros(2, dtype=torch.float64)
    for x, y in images.in_order(250):
        logits: Tensor = model(transform(x)).float()
        right += (logits.argmax(1) == y).sum().cpu()
        loss += cross_entropy(logits, y, reduction="sum").double().cpu()
    return 100 * float(right) / len(images), float(loss) / len(images)


class Run:
    """A run's model, images and row, the row without the figures of training and testing."""

    def __init__(self, protocol_name: str, dataset: str, mixer: str, seed: int, device: str) -> None:
        self.protocol, self.seed = PROTOCOLS[protocol_name].on(dataset).changed(MIXERS[mixer].recipe), seed
        torch.manual_seed(seed)
        model = build(MIXERS[mixer], self.protocol.shape, CLASSES[dataset], self.protocol.budget[dataset])
        macs = num_macs(model, self.protocol.shape.side)
        self.model = model.to(device)
        self.images = opened(dataset, "train", device, self.protocol.images, self.protocol.varied)
        self.tested_on = opened(dataset, "test", device, None, self.protocol.varied)
        self.row = {
            "protocol": protocol_name,
            "dataset": dataset,
            "mixer": mixer,
            "seed": seed,
            "params": num_params(model),
            "macs": macs,
            "epochs": self.protocol.epochs,
            "images": len(self.images),
            "tokens": grid_sides(self.protocol.shape)[0] ** 2,
            "widths": "/".join(map(str, model.widths)),
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu, one thread",
            "torch": torch.__version__,
        }

    def finished(self, train_loss: float, seconds: float) -> dict:
        """The whole row; leaves the weights behind."""
        protocol, dataset, mixer, seed = (self.row[key] for key in KEY)
        file = weights_file(protocol, dataset, mixer, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.model.state_dict(), file)
        accuracy, loss = evaluate(self.model, self.tested_on)
        seen = len(self.images) // self.protocol.batch_size * self.protocol.batch_size * self.protocol.epochs
        return self.row | {
            "train_images_per_s": round(seen / seconds),
            "train_loss": round(train_loss, 4),
            "test_acc": round(accuracy, 2),
            "test_loss": round(loss, 4),
        }


@functools.lru_cache(2)
def opened(dataset: str, split: str, device: str, num_images: int | None, varied: bool) -> Images:
    """Images that the runs of a process share."""
    return Images(dataset, split, device, num_images, varied)


def weights_file(protocol: str, dataset: str, mixer: str, seed: int | str) -> Path:
    """Where a run leaves its weights, for the measurements that need a trained model; not committed."""
    return WEIGHTS / f"{protocol}-{dataset}-{mixer}-{seed}.safetensors"


def load(protocol: str, dataset: str, mixer: str, seed: int | str) -> nn.Module:
    """A model as a run left it."""
    settings = PROTOCOLS[protocol].on(dataset).changed(MIXERS[mixer].recipe)
    model = build(MIXERS[mixer], settings.shape, CLASSES[dataset], settings.budget[dataset])
    model.load_state_dict(load_file(weights_file(protocol, dataset, mixer, seed)))
    return model.eval()


def trained(protocol: str, mixers: Sequence[str]) -> Iterator[Job]:
    """The runs of these mixers that left weights on this machine; says which did not."""
    done = (tuple(row[field] for field in KEY) for row in rows() if row["protocol"] == protocol)
    for job in dict.fromkeys(job for job in done if job[2] in mixers):
        if weights_file(*job).exists():
            yield job
        else:
            print("no weights, skipped:", *job)


def run(group: Sequence[Job], device: str) -> list[dict | Exception]:
    """The row of each job, or why there is none. On a GPU they share it, else they follow each other."""
    return run_on_gpu(group) if device == "cuda" else [outcome(partial(run_on_cpu, job)) for job in group]


def outcome(make: Callable[[], T]) -> T | Exception:
    """What was made, or why it was not: one that fails does not stop the others."""
    try:
        return make()
    except Exception as error:
        return error


def run_on_cpu(job: Job) -> dict:
    """One run's row."""
    prepared = Run(*job, "cpu")
    start = time.perf_counter()
    loss = train(prepared.model, prepared.images, prepared.protocol, prepared.seed)
    return prepared.finished(loss, time.perf_counter() - start)


def run_on_gpu(group: Sequence[Job]) -> list[dict | Exception]:
    """The rows of runs that train at the same time; their rate is that of a shared GPU."""
    begun = [outcome(lambda job=job: Captured(Run(*job, "cuda"))) for job in group]
    start = time.perf_counter()
    interleaved([each.training for each in begun if isinstance(each, Captured)])
    seconds = time.perf_counter() - start
    return [outcome(partial(each.finished, seconds)) if isinstance(each, Captured) else each for each in begun]


class Captured:
    """A run and its training on a GPU."""

    def __init__(self, prepared: Run) -> None:
        torch.backends.cudnn.allow_tf32 = False  # the arithmetic of the CPU
        self.prepared = prepared
        model, images, protocol = prepared.model.train(), prepared.images, prepared.protocol
        draws = [images.draws(protocol.batch_size, prepared.seed, epoch) for epoch in range(protocol.epochs)]
        self.training = CapturedTraining(
            partial(update, model, protocol=protocol),
            optimizer_for(model, protocol),
            model,
            images,
            draws,
            learning_rates(protocol, images),
        )

    def finished(self, seconds: float) -> dict:
        """The whole row."""
        return self.prepared.finished(of_last_epoch(self.training.losses, self.prepared.protocol), seconds)


def rows(file: Path = RESULTS) -> list[dict[str, str]]:
    """What has been run."""
    if not file.exists():
        return []
    with file.open() as lines:
        return list(csv.DictReader(lines))


def append(row: dict, file: Path = RESULTS) -> None:
    """Add a row at once."""
    is_new = not file.exists()
    with file.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def write(file: Path, header: tuple[str, ...], lines: list[tuple]) -> None:
    """Replace a file of results."""
    with file.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


def jobs(options: argparse.Namespace) -> list[Job]:
    """What was asked for and is not there yet; all mixers of one seed before the next seed."""
    asked = [QUESTIONS[name] for name in options.question or ()] or [Question(options.protocol, options.mixers)]
    on_gpu = options.device == "cuda"
    done = {tuple(row[key] for key in KEY) for row in rows() if on_gpu != row["device"].startswith("cpu")}
    if options.weights:
        done = {key for key in done if weights_file(*key).exists()}
    wanted = [
        (question.protocol, dataset, name, seed)
        for question in asked
        for seed, dataset, name in itertools.product(options.seeds, options.datasets, names_of(question.mixers))
        if PROTOCOLS[question.protocol].on(dataset).shape.fits()
    ]
    return [job for job in dict.fromkeys(wanted) if tuple(map(str, job)) not in done]


def names_of(mixers: Sequence[str]) -> list[str]:
    """Mixers by name, ``peers`` being all of them."""
    names = [name for given in mixers for name in (PEERS if given == "peers" else [given])]
    unknown = [name for name in names if name not in MIXERS]
    if unknown:
        raise SystemExit(f"unknown mixer {unknown[0]!r}; there are: peers (all of them), {', '.join(MIXERS)}")
    return names


def groups(todo: list[Job], size: int) -> list[tuple[Job, ...]]:
    """At most ``size`` neighbours of one protocol and data set each."""
    same = itertools.groupby(todo, key=lambda job: job[:2])
    return [tuple(some[i : i + size]) for _, found in same for some in [list(found)] for i in range(0, len(some), size)]


def use_one_thread() -> None:
    """Trainings side by side, a thread each, beat one training with all of them. A worker ends with its parent."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def keep(done: Future[list[dict | Exception]], group: Sequence[Job]) -> int:
    """Append what a group of runs returned, report those that failed, and count them."""
    error = done.exception()
    outcomes = [error] * len(group) if error else done.result()
    before = {tuple(row[key] for key in (*KEY, "device")): row["test_acc"] for row in rows()}
    for job, row in zip(group, outcomes, strict=True):
        if not isinstance(row, dict):
            print("FAILED", *job, repr(row), flush=True)
            continue
        was = before.get((*map(str, job), row["device"]))
        if was is None:
            append(row)
        again = f"(was {was})" if was else ""
        print(*(row[key] for key in (*KEY, "test_acc", "train_loss", "train_images_per_s")), again, flush=True)
    return sum(not isinstance(row, dict) for row in outcomes)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--question", nargs="+", choices=QUESTIONS)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="screen")
    parser.add_argument("--datasets", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--mixers", nargs="+", default=["peers", "dsm"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--weights", action="store_true", help="train again what has left no weights on this machine")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--together", type=int, default=1, help="trainings a worker has on the GPU at the same time")
    return parser


def main() -> None:
    options = parser().parse_args()
    # glibc would return every large buffer to the system after each step, and fault its pages in again in the next.
    os.environ.update(OMP_NUM_THREADS="1", MALLOC_MMAP_THRESHOLD_="1000000000", MALLOC_TRIM_THRESHOLD_="4000000000")
    todo = jobs(options)
    print(f"{len(todo)} runs")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, use_one_thread, max_tasks_per_child=8) as pool:
        started = {pool.submit(run, group, options.device): group for group in groups(todo, options.together)}
        failed = sum(keep(done, started[done]) for done in as_completed(started))
    if failed:
        raise SystemExit(f"{failed} of {len(todo)} runs failed")


if __name__ == "__main__":
    main()
