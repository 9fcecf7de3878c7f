"""Training time of every mixer, side by side in one process on an otherwise idle machine; writes `speed-<device>.csv`.

uv run python -m studies.mixers.speed --protocol screen [--device cuda] [--rounds 7]

Each round times one training step of every mixer in turn; the median over rounds is kept, and its ratio to the median
peer. The rate in `results.csv` was taken while two trainings shared the machine, this one was not.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from studies.mixers.data import CLASSES
from studies.mixers.frame import build
from studies.mixers.mixers import MIXERS
from studies.mixers.peers import PEERS
from studies.mixers.protocols import PROTOCOLS, Protocol
from studies.mixers.run import optimizer_for, use_one_thread, write

DATASET = "cifar10"


class Contender:
    """A model with its optimizer, and the times its steps took."""

    def __init__(self, name: str, protocol: Protocol, device: str) -> None:
        torch.manual_seed(0)
        self.name, self.device, self.times = name, device, []
        self.protocol = protocol.changed(MIXERS[name].recipe)
        shape, budget = self.protocol.shape, protocol.budget[DATASET]
        self.model: nn.Module = build(MIXERS[name], shape, CLASSES[DATASET], budget).to(device).train()
        self.optimizer = optimizer_for(self.model, protocol)
        self.x = torch.randn(protocol.batch_size, 3, shape.side, shape.side, device=device)
        self.y = torch.randint(CLASSES[DATASET], (protocol.batch_size,), device=device)

    def step(self) -> float:
        """Seconds of one training step."""
        self._wait()
        start = time.perf_counter()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            loss = cross_entropy(self.model(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


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
    protocol = PROTOCOLS[options.protocol]
    contenders = [Contender(name, protocol, options.device) for name in options.mixers]
    for number in range(options.rounds + 1):
        for contender in contenders:
            seconds = contender.step()
            if number:  # the first round allocates and fills the caches
                contender.times.append(seconds)
    median = {c.name: statistics.median(c.times) for c in contenders}
    peer = statistics.median(median[name] for name in PEERS if name in median)
    lines = []
    for name, seconds in sorted(median.items(), key=lambda item: item[1]):
        milliseconds = 1e3 * seconds / protocol.batch_size
        lines.append((options.protocol, name, round(milliseconds, 3), round(seconds / peer, 3)))
        print(f"{name:20} {milliseconds:7.3f} ms an image, {seconds / peer:.2f} of the median peer")
    write(
        Path(__file__).with_name(f"speed-{options.device}.csv"),
        ("protocol", "mixer", "train_ms_per_image", "of_median_peer"),
        lines,
    )


if __name__ == "__main__":
    main()
