"""Images per second of `dsm_*` and of what a user would pick instead, side by side; writes `results-<device>.csv`.

    uv run python studies/throughput/run.py --device cuda --batch 128 --precision bfloat16 [--compiled]

Random images of 224 × 224 pixels, random weights, timm's networks with channels_last where they are convolutional.
Each round takes one pass of every network in turn, forward in inference mode or a training step with AdamW; the median
over the rounds is kept. Nothing is decoded or augmented.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import dsmixer  # noqa: F401  (registers dsm_*)

# name in timm, and whether it is faster with channels_last
NETWORKS = {
    "dsm_tiny": False,
    "convnext_tiny": True,
    "swin_tiny_patch4_window7_224": False,
    "deit_small_patch16_224": False,
    "resnet50": True,
    "mambaout_tiny": True,
    "gmlp_s16_224": False,
}
FIELDS = ("network", "pass", "precision", "compiled", "batch", "params", "images_per_s", "peak_mb", "device", "torch")


def passes(name: str, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Inference and a training step."""
    model = timm.create_model(name, num_classes=1000).to(options.device)
    layout = torch.channels_last if NETWORKS[name] else torch.contiguous_format
    model = model.to(memory_format=layout)
    x = torch.randn(options.batch, 3, 224, 224, device=options.device).to(memory_format=layout)
    y = torch.randint(1000, (options.batch,), device=options.device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    run: nn.Module = torch.compile(model) if options.compiled else model  # type: ignore[assignment]
    dtype = getattr(torch, options.precision)
    autocast = torch.autocast(options.device, dtype, enabled=dtype != torch.float32)

    def infer() -> None:
        run.eval()
        with torch.inference_mode(), autocast:
            run(x)

    def train() -> None:
        run.train()
        with autocast:
            loss = cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return {"inference": infer, "training": train}


def seconds(step: Callable[[], object], device: str) -> float:
    """Of one pass."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    steps = {name: passes(name, options) for name in options.networks}
    peaks = {}
    for name, kinds in steps.items():  # the first passes allocate, choose kernels and compile
        for kind, step in kinds.items():
            step()
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
                step()
                peaks[name, kind] = round((torch.cuda.max_memory_allocated() - held) / 1e6)
    rounds = [
        {(name, kind): seconds(step, options.device) for name, kinds in steps.items() for kind, step in kinds.items()}
        for _ in range(options.rounds)
    ]
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    file = Path(__file__).with_name(f"results-{options.device}.csv")
    is_new = not file.exists()
    with file.open("a", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        if is_new:
            writer.writerow(FIELDS)
        for name, kind in rounds[0]:
            rate = float(f"{options.batch / statistics.median(times[name, kind] for times in rounds):.4g}")
            params = sum(p.numel() for p in timm.create_model(name, num_classes=1000).parameters())
            how = (options.precision, options.compiled, options.batch)
            writer.writerow((name, kind, *how, params, rate, peaks.get((name, kind), ""), device, torch.__version__))
            print(f"{name:30} {kind:10} {rate:8g} images/s", flush=True)


if __name__ == "__main__":
    main()
