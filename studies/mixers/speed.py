"""Training time of every mixer, side by side in one process on an otherwise idle machine; writes `speed-<device>.csv`.

uv run python -m studies.mixers.speed --protocol screen [--device cuda] [--rounds 7]

Each round times one training step of every mixer in turn; the median over rounds is kept, and its ratio to the median
peer. The rate in `results.csv` was taken while two trainings shared the machine, this one was not.
"""

import argparse
import os
import statistics
import time
from functools import partial
from pathlib import Path

import torch

from studies.mixers.data import CLASSES
from studies.mixers.frame import build
from studies.mixers.mixers import MIXERS
from studies.mixers.peers import PEERS
from studies.mixers.protocols import PROTOCOLS
from studies.mixers.run import Captured, Run, optimizer_for, update, use_one_thread, write

DATASET = "cifar10"


STEPS = 10  # that a GPU is timed over


class OnCpu:
    """A model whose training steps are timed."""

    def __init__(self, name: str, protocol_name: str) -> None:
        protocol = PROTOCOLS[protocol_name].changed(MIXERS[name].recipe)
        torch.manual_seed(0)
        model = build(MIXERS[name], protocol.shape, CLASSES[DATASET], protocol.budget[DATASET]).train()
        x = torch.randn(protocol.batch_size, 3, protocol.shape.side, protocol.shape.side)
        y = torch.randint(CLASSES[DATASET], (protocol.batch_size,))
        self.update = partial(update, model, x, y, protocol, optimizer_for(model, protocol))

    def step(self) -> float:
        """Seconds of one."""
        start = time.perf_counter()
        self.update()
        return time.perf_counter() - start


class OnGpu:
    """The same, replayed as a graph, without the time that Python would take."""

    def __init__(self, name: str, protocol_name: str) -> None:
        self.training = Captured(Run(protocol_name, DATASET, name, 0, "cuda")).training

    def step(self) -> float:
        """Seconds of one, the mean of a few."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(STEPS):
            self.training.replay()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="screen")
    parser.add_argument("--mixers", nargs="+", default=["dsm", *PEERS])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        print("set MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000, as the runs have them")
    use_one_thread()
    make = OnGpu if options.device == "cuda" else OnCpu
    contenders = {name: make(name, options.protocol) for name in options.mixers}
    rounds = [{name: c.step() for name, c in contenders.items()} for _ in range(options.rounds + 1)]
    # The first round allocates and fills the caches.
    median = {name: statistics.median(times[name] for times in rounds[1:]) for name in contenders}
    peer = statistics.median(median[name] for name in PEERS if name in median)
    lines = []
    for name, seconds in sorted(median.items(), key=lambda item: item[1]):
        milliseconds = 1e3 * seconds / PROTOCOLS[options.protocol].batch_size
        lines.append((options.protocol, name, float(f"{milliseconds:.3g}"), round(seconds / peer, 3)))
        print(f"{name:20} {milliseconds:8.4f} ms an image, {seconds / peer:.2f} of the median peer")
    write(
        Path(__file__).with_name(f"speed-{options.device}.csv"),
        ("protocol", "mixer", "train_ms_per_image", "of_median_peer"),
        lines,
    )


if __name__ == "__main__":
    main()
