"""Train mixers in one frame; one row a run in `results.csv`. A run that is there is skipped: stop and go on at will.

uv run python -m studies.mixers.run --protocol screen --datasets cifar10 tiny --mixers dsm gatedconv7 --seeds 0 1 2
uv run python -m studies.mixers.run --question 1-dynamic                         # the runs of one page
uv run python -m studies.mixers.run --protocol full --mixers peers dsm --workers 6 --device cuda
"""

import argparse
import csv
import itertools
import math
import multiprocessing
import os
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from studies.mixers.data import CLASSES, Images
from studies.mixers.frame import build, grid_sides, num_macs, num_params
from studies.mixers.mixers import MIXERS, QUESTIONS
from studies.mixers.peers import PEERS
from studies.mixers.protocols import PROTOCOLS, Protocol

RESULTS = Path(__file__).with_name("results.csv")
WEIGHTS = Path(__file__).resolve().parents[2] / "runs" / "mixers"
FIELDS = (
    "protocol", "dataset", "mixer", "seed", "params", "macs", "train_images_per_s", "test_acc", "test_loss",
    "train_loss", "epochs", "images", "tokens", "widths", "device", "torch",
)  # fmt: skip
KEY = ("protocol", "dataset", "mixer", "seed")


def optimizer_for(model: nn.Module, protocol: Protocol) -> torch.optim.Optimizer:
    """AdamW; vectors (norms, biases, layer scale) are not decayed, as in timm."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": protocol.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, protocol.lr, fused=True)


def learning_rate(protocol: Protocol, progress: float) -> float:
    """Linear warm-up over a tenth of the run, then half a cosine to 0."""
    if progress < 0.1:
        return protocol.lr * progress / 0.1
    return protocol.lr * 0.5 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9))


def train(model: nn.Module, images: Images, protocol: Protocol, seed: int) -> tuple[float, float]:
    """Mean loss of the last epoch, and images per second over all of them."""
    optimizer = optimizer_for(model, protocol)
    steps = len(images) // protocol.batch_size
    start, loss_sum = time.perf_counter(), torch.zeros(())
    for epoch in range(protocol.epochs):
        model.train()
        losses = []
        for step, (x, y) in enumerate(images.epoch(protocol.batch_size, seed, epoch)):
            rate = learning_rate(protocol, (epoch * steps + step + 1) / (protocol.epochs * steps))
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
                loss = cross_entropy(model(x), y, label_smoothing=protocol.label_smoothing)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), protocol.clip)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        loss_sum = torch.stack(losses).mean()
    mean_loss = float(loss_sum)  # waits for the device
    return mean_loss, protocol.epochs * steps * protocol.batch_size / (time.perf_counter() - start)


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


def trained(protocol_name: str, dataset: str, mixer: str, seed: int, device: str) -> tuple[nn.Module, dict]:
    """A trained model and its row, without the test figures."""
    protocol = PROTOCOLS[protocol_name].on(dataset).changed(MIXERS[mixer].recipe)
    torch.manual_seed(seed)
    model = build(MIXERS[mixer], protocol.shape, CLASSES[dataset], protocol.budget[dataset])
    macs = num_macs(model, protocol.shape.side)
    images = Images(dataset, "train", device, protocol.images)
    train_loss, images_per_s = train(model.to(device), images, protocol, seed)
    widths = [stage[0].norm1.normalized_shape[0] for stage in model.stages]
    row = {
        "protocol": protocol_name,
        "dataset": dataset,
        "mixer": mixer,
        "seed": seed,
        "params": num_params(model),
        "macs": macs,
        "train_images_per_s": round(images_per_s),
        "train_loss": round(train_loss, 4),
        "epochs": protocol.epochs,
        "images": len(images),
        "tokens": grid_sides(protocol.shape)[0] ** 2,
        "widths": "/".join(map(str, widths)),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu, one thread",
        "torch": torch.__version__,
    }
    return model, row


def weights_file(protocol: str, dataset: str, mixer: str, seed: int | str) -> Path:
    """Where a run leaves its weights, for the measurements that need a trained model; not committed."""
    return WEIGHTS / f"{protocol}-{dataset}-{mixer}-{seed}.safetensors"


def load(protocol: str, dataset: str, mixer: str, seed: int | str) -> nn.Module:
    """A model as a run left it."""
    settings = PROTOCOLS[protocol].on(dataset).changed(MIXERS[mixer].recipe)
    model = build(MIXERS[mixer], settings.shape, CLASSES[dataset], settings.budget[dataset])
    model.load_state_dict(load_file(weights_file(protocol, dataset, mixer, seed)))
    return model.eval()


def run(protocol: str, dataset: str, mixer: str, seed: int, device: str) -> dict:
    """One row."""
    model, row = trained(protocol, dataset, mixer, seed, device)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), weights_file(protocol, dataset, mixer, seed))
    accuracy, loss = evaluate(model, Images(dataset, "test", device))
    return row | {"test_acc": round(accuracy, 2), "test_loss": round(loss, 4)}


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


def jobs(options: argparse.Namespace) -> list[tuple[str, str, str, int]]:
    """What was asked for and is not there yet; all mixers of one seed before the next seed."""
    names = QUESTIONS[options.question].mixers if options.question else options.mixers
    names = [name for given in names for name in (PEERS if given == "peers" else [given])]
    unknown = [name for name in names if name not in MIXERS]
    if unknown:
        raise SystemExit(f"unknown mixer {unknown[0]!r}; there are: peers (all of them), {', '.join(MIXERS)}")
    protocol = QUESTIONS[options.question].protocol if options.question else options.protocol
    done = {tuple(row[key] for key in KEY) for row in rows()}
    if options.weights:
        done = {key for key in done if weights_file(*key).exists()}
    wanted = itertools.product(options.seeds, options.datasets, dict.fromkeys(names))
    return [
        (protocol, dataset, name, seed)
        for seed, dataset, name in wanted
        if (protocol, dataset, name, str(seed)) not in done
    ]


def use_one_thread() -> None:
    """Trainings side by side, a thread each, beat one training with all of them. A worker ends with its parent."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def keep(done: Future[dict], job: tuple[str, str, str, int]) -> bool:
    """Append what a run returned; one that failed is reported and does not stop the others."""
    try:
        row = done.result()
    except Exception as error:
        print("FAILED", *job, repr(error), flush=True)
        return False
    before = [known for known in rows() if all(known[key] == str(row[key]) for key in KEY)]
    if not before:
        append(row)
    again = f"(was {before[0]['test_acc']})" if before else ""
    print(*(row[key] for key in (*KEY, "test_acc", "train_loss", "train_images_per_s")), again, flush=True)
    return True


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--question", choices=QUESTIONS)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="screen")
    parser.add_argument("--datasets", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--mixers", nargs="+", default=["peers", "dsm"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--weights", action="store_true", help="train again what has left no weights on this machine")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser


def main() -> None:
    options = parser().parse_args()
    # glibc would return every large buffer to the system after each step, and fault its pages in again in the next.
    os.environ.update(OMP_NUM_THREADS="1", MALLOC_MMAP_THRESHOLD_="1000000000", MALLOC_TRIM_THRESHOLD_="4000000000")
    todo = jobs(options)
    print(f"{len(todo)} runs")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, use_one_thread, max_tasks_per_child=8) as pool:
        started = {pool.submit(run, *job, options.device): job for job in todo}
        failed = [started[done] for done in as_completed(started) if not keep(done, started[done])]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(todo)} runs failed")


if __name__ == "__main__":
    main()
