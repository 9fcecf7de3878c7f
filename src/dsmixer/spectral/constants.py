"""Matrices of an axis, from its length, or of a grid: made once per size, dtype and device, or in a traced graph."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

# 4 stages × 2 axes × (cosine, bands, terms) are 24 matrices an image size; 56 × 56 takes 12 kB.
CACHE_SIZE = 512
# 4 stages × 2 kinds of rings; those of 56 × 56 take 75 kB each, of 270 × 480 tokens (1080 × 1920 pixels) 3 MB.
GRID_CACHE_SIZE = 64

P = ParamSpec("P")
N = TypeVar("N", int, tuple[int, int])  # the length of an axis, or height and width


def is_traced(x: Tensor) -> bool:
    """Whether a constant made now would belong to a graph (export, compile, fake tensors) and must not be cached."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) not in (Tensor, torch.nn.Parameter)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for anything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def tensor_length(n: int, device: torch.device) -> Tensor:
    """The length ``n`` as a 0-d int64 tensor.

    Arithmetic on it stays in an exported graph. ``math.sqrt(2 / n)`` would freeze the traced size there: it exports
    without complaint and is wrong at every other size.
    """
    return torch.full((), n, dtype=torch.int64, device=device)


def constant(
    build: Callable[Concatenate[N, torch.dtype, torch.device, P], Tensor], entries: int = CACHE_SIZE
) -> Callable[Concatenate[N, Tensor, P], Tensor]:
    """Turn ``build(n, dtype, device, ...)`` into ``get(n, like, ...)``, cached in eager mode.

    Eager: built in float64 on the CPU, rounded once to the dtype of ``like``, moved to its device, and kept in a cache
    of so many ``entries`` outside every module, so neither ``state_dict`` nor ``pickle`` nor ``deepcopy`` sees it.
    Traced: built in the graph, float32 or better, with the length as a tensor.
    """

    @functools.lru_cache(maxsize=entries)
    def cached(n: N, dtype: torch.dtype, device: torch.device, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        # A tensor made in inference mode could not be saved for a later backward pass; one made inside torch.func's
        # transforms would outlive them as their wrapper.
        with torch.inference_mode(False), torch.no_grad(), temporarily_clear_interpreter_stack():
            return build(n, torch.float64, torch.device("cpu"), *args, **kwargs).to(device, dtype)

    @functools.wraps(build)
    def get(n: N, like: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if not is_traced(like):
            return cached(n, like.dtype, like.device, *args, **kwargs)
        working = at_least_float32(like.dtype)
        made = build(n, working, like.device, *args, **kwargs)
        return made if working == like.dtype else made.to(like.dtype)

    get.cache_info = cached.cache_info  # type: ignore[attr-defined]
    return get  # type: ignore[return-value]


BOTH = -1


class Constants:
    """Where a function gets its matrices from. This one asks anew each time."""

    def __call__(self, get: Callable[..., Tensor], axis: int, n: Any, like: Tensor, *args: Any) -> Tensor:
        """``get(n, like, *args)``, the constant of an axis (0 height, 1 width, `BOTH`) of length (lengths) ``n``."""
        return get(n, like, *args)


class SharedConstants(Constants):
    """The constants of one token grid, each made once.

    In eager mode the cache of `constant` would do. A traced graph holds a matrix as often as it is asked for, so all
    blocks of a stage share one of these: it keeps the graph of a deep network about as small as that of a shallow one.
    Keyed by axis, for a length that is traced cannot be hashed.
    """

    def __init__(self) -> None:
        self.made: dict[tuple[Any, ...], Tensor] = {}

    def __call__(self, get: Callable[..., Tensor], axis: int, n: Any, like: Tensor, *args: Any) -> Tensor:
        """The constant of this grid's ``axis``, made at the first call."""
        # The function itself: its name is that of the wrapper while torch.compile traces.
        key = (get, axis, like.dtype, like.device, *args)
        if key not in self.made:
            self.made[key] = get(n, like, *args)
        return self.made[key]


DIRECT = Constants()
