"""At which length does the FFT overtake the matrix product? Writes `results-<device>.csv` beside this file.

uv run python studies/dct_crossover/run.py [--device cuda] [--threads 1] [--dtypes float32 bfloat16]

One `dct2` and one `idct2`, forward and backward, on n × n tokens of 96 channels, with the number of images chosen so
that every size holds about the same number of values. Median of the repeats; both routes alternate in one process.
"""

import argparse
import csv
import platform
import statistics
import time
from pathlib import Path

import torch

from dsmixer.spectral import dct2, idct2

CHANNELS = 96
VALUES = 6_000_000
LENGTHS = (7, 14, 28, 56, 64, 112, 128, 196, 256, 384, 448, 512, 768, 1024)


def milliseconds(x: torch.Tensor, route: str) -> float:
    x = x.detach().requires_grad_()
    if x.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    idct2(dct2(x, route), route).sum().backward()
    if x.is_cuda:
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def measure(n: int, dtype: torch.dtype, device: str, repeats: int) -> dict[str, float]:
    channels = min(CHANNELS, max(8, VALUES // n**2))
    x = torch.randn(max(1, VALUES // (n * n * channels)), n, n, channels, device=device, dtype=dtype)
    times: dict[str, list[float]] = {"matrix": [], "fft": []}
    for repeat in range(repeats + 1):
        for route, found in times.items():
            elapsed = milliseconds(x, route)
            if repeat:  # the first round fills the caches
                found.append(elapsed)
    return {route: statistics.median(found) / x.numel() * 1e6 for route, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "float64", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    print(f"{name}, {options.threads} threads, torch {torch.__version__}; ns per value, forward + backward")
    rows = []
    for dtype in options.dtypes:
        for n in LENGTHS:
            found = measure(n, getattr(torch, dtype), options.device, options.repeats)
            rows.append({"dtype": dtype, "n": n, **{k: round(v, 2) for k, v in found.items()}})
            rows[-1]["matrix_over_fft"] = round(found["matrix"] / found["fft"], 2)
            print(rows[-1], flush=True)
    with (Path(__file__).parent / f"results-{options.device}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
