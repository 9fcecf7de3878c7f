"""Which device, which precision, how many threads."""

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from dsmixer.data.names import first_line


def pick_device(name: str, setting: str = "run.device") -> torch.device:
    """The device called ``name``; "auto" is CUDA where there is one, else the CPU. ``setting`` is for the error."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()  # "meta" can be written to, but never read
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = first_line(error).partition(". ")[0]
        raise ValueError(
            f"{setting} is {name}, which this machine does not offer ({reason}); try auto or cpu"
        ) from error
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that it is faster and not only smaller."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def pick_precision(name: str, device: torch.device) -> str:
    """ "float32", "bfloat16" or "float16"; "auto" is bfloat16 where the hardware has it."""
    if name == "auto":
        return "bfloat16" if has_bfloat16(device) else "float32"
    return name


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context in which the model runs; weights and their updates stay float32."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, getattr(torch, precision))


def own_device(name: str, local_rank: int) -> torch.device:
    """``pick_device`` for one of several processes on a machine: of several GPUs, that of its number."""
    device = pick_device(name)
    if device.type != "cuda":
        return device
    if device.index is not None:
        torch.cuda.set_device(device)  # or pinned memory, and what is asked of "the" GPU, would be the first one's
        return device
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"process {local_rank} of this machine has no GPU of its own, for there are {torch.cuda.device_count()}; "
            "start as many processes as GPUs (torchrun --nproc-per-node=gpu)"
        )
    return torch.device("cuda", local_rank)


def set_up(threads: int, deterministic: bool) -> None:
    """Process-wide settings of PyTorch."""
    if threads:
        torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def describe(device: torch.device, precision: str) -> dict[str, Any]:
    """What a result depends on beside the configuration: recorded in checkpoints, compared on resume."""
    import timm

    import dsmixer

    on_gpu = device.type == "cuda"
    processor = torch.cuda.get_device_name(device) if on_gpu else torch.cpu.get_capabilities().get("cpu_name", "")
    return {
        "dsmixer": dsmixer.__version__,
        "torch": str(torch.__version__),
        "timm": timm.__version__,
        "python": platform.python_version(),
        "device": device.type,
        "processor": processor or platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": precision,
    }
