"""What it costs that all processes agree, before every step, whether to stop and whether to save.

torchrun --standalone --nproc-per-node=2 studies/agreement/run.py
"""

import time

import torch

from dsmixer.engine.distributed import Group, joined

if __name__ == "__main__":
    group, times = Group.from_environment(), []
    with joined(group, torch.device("cpu"), 60):
        for _ in range(2000):
            begin = time.perf_counter()
            group.highest(0, 0)
            times.append(time.perf_counter() - begin)
    if group.is_main:
        middle, late = sorted(times)[1000], sorted(times)[1900]
        print(f"{group.world} processes: median {1e6 * middle:.0f} µs, 95th percentile {1e6 * late:.0f} µs")
