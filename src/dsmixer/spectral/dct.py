"""Orthonormal DCT-II and its inverses, cosine and sine, by two equal routes: matrix product and FFT.

    C[k, i] = sqrt((2 - [k = 0]) / n) · cos(π (i + 1/2) k / n)      analysis and cosine synthesis
    S[k, i] = sqrt(2 / n)             · sin(π (i + 1/2) k / n)      sine synthesis; row 0 is zero

Row k is the frequency ω = πk/n radians, or k/(2n) cycles, per token.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dsmixer.spectral.constants import DIRECT, Constants, at_least_float32, constant, is_traced, tensor_length

Route = Literal["auto", "matrix", "fft"]
Basis = Literal["cosine", "sine"]

# Lengths from which the FFT is the faster route. `studies/dct_crossover`: on a CPU in float32 the two meet between 384
# and 448. Matrix units move that up: on an H200 to about 1,000 in float32, beyond 1,024 in bfloat16; so elsewhere the
# length is a bound rather than a crossover.
FFT_FROM = {"cpu": 448}
FFT_FROM_ELSEWHERE = 2048


def dct(x: Float[Tensor, "..."], dim: int = -1, route: Route = "auto") -> Float[Tensor, "..."]:
    """Orthonormal DCT-II along ``dim``, equal to SciPy's ``dct(type=2, norm="ortho")``.

    Entry 0 carries the mean, √n times over; entry k counts half-cycles over the axis. Energy is kept (Parseval).

    Precision: float64 and float32 are computed as such. bfloat16, and float32 under bfloat16 autocast, multiply in
    bfloat16 and accumulate in float32. float16, and float32 under float16 autocast, are computed and **returned in
    float32**, for the DC entry of an h × w map is √(hw) times its mean, which float16 cannot hold. The FFT route never
    works below float32.

    Route: ``"matrix"`` costs n² per line and exports; ``"fft"`` costs n log n; ``"auto"`` takes the faster by measured
    size, and always the matrix while a graph is traced.

    Raises:
        ValueError: for a dtype that is not floating point, a length of 0, an unknown route.
    """
    return _transform(x, dim, DCT, route)


def idct(y: Float[Tensor, "..."], dim: int = -1, route: Route = "auto") -> Float[Tensor, "..."]:
    """Inverse of `dct` along ``dim`` (orthonormal DCT-III, cosine synthesis): ``x_i = Σ_k C[k, i] y_k``."""
    return _transform(y, dim, INVERSE["cosine"], route)


def sine_synthesis(y: Float[Tensor, "..."], dim: int = -1, route: Route = "auto") -> Float[Tensor, "..."]:
    """Sine twin of `idct` along ``dim``: ``x_i = Σ_k S[k, i] y_k``; entry 0 is ignored.

    Cosine coefficients synthesised with sines are shifted by a quarter cycle, so a gain that is odd in ω builds the odd
    filters (edges, shifts) that no real gain on a cosine synthesis can.
    """
    return _transform(y, dim, INVERSE["sine"], route)


def dct2(
    x_BHWC: Float[Tensor, "b h w c"], route: Route = "auto", constants: Constants = DIRECT
) -> Float[Tensor, "b u v c"]:
    """Orthonormal 2-D DCT-II over height and width of tokens; any size from 1 × 1.

    Entry (0, 0) carries the mean; u counts half-cycles from top to bottom, v from left to right. Precision, routes and
    errors as `dct`. ``constants`` may be shared by calls on one grid, see `SharedConstants`.
    """
    _require_tokens(x_BHWC)
    return _transform(_transform(x_BHWC, 2, DCT, route, constants), 1, DCT, route, constants)


def idct2(
    y_BUVC: Float[Tensor, "b u v c"], route: Route = "auto", constants: Constants = DIRECT
) -> Float[Tensor, "b h w c"]:
    """Inverse of `dct2`."""
    return synthesis2(y_BUVC, "cosine", "cosine", route, constants)


def synthesis2(
    y_BUVC: Float[Tensor, "b u v c"],
    height: Basis = "cosine",
    width: Basis = "cosine",
    route: Route = "auto",
    constants: Constants = DIRECT,
) -> Float[Tensor, "b h w c"]:
    """Synthesis with cosines or sines on each axis: `idct` or `sine_synthesis` over width, then over height."""
    _require_tokens(y_BUVC)
    for axis, basis in (("height", height), ("width", width)):
        if basis not in INVERSE:
            raise ValueError(f"{axis} basis {basis!r} is unknown; use 'cosine' or 'sine'")
    over_width = _transform(y_BUVC, 2, INVERSE[width], route, constants)
    return _transform(over_width, 1, INVERSE[height], route, constants)


# ---- choice of route and precision ----------------------------------------------------------------------------------


class Transform(NamedTuple):
    """One linear map by two routes: its matrix (or the transpose of it), and an FFT."""

    matrix: Callable[[int, Tensor], Tensor]
    transposed: bool
    fft: Callable[[Tensor, int], Tensor]


def _transform(x: Tensor, dim: int, kind: Transform, route: Route, constants: Constants = DIRECT) -> Tensor:
    _require_floating(x)
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"dim {dim} is out of range for a tensor of {x.ndim} dimensions")
    dim %= x.ndim
    if not is_traced(x) and x.shape[dim] == 0:
        raise ValueError(f"dimension {dim} of {tuple(x.shape)} is empty; a DCT needs a length of at least 1")
    takes_fft = _takes_fft(x, dim, route)
    dtype = _working_dtype(x)
    x = x if x.dtype == dtype else x.to(dtype)  # an idle cast would still be a node of an exported graph
    if takes_fft:
        return kind.fft(x, dim)
    matrix = constants(kind.matrix, dim - 1, x.shape[dim], x)
    return contract(matrix.transpose(-1, -2) if kind.transposed else matrix, x, dim)


def _takes_fft(x: Tensor, dim: int, route: Route) -> bool:
    if route not in ("auto", "matrix", "fft"):
        raise ValueError(f"route {route!r} is unknown; use 'auto', 'matrix' or 'fft'")
    if route == "auto":
        return not is_traced(x) and x.shape[dim] >= FFT_FROM.get(x.device.type, FFT_FROM_ELSEWHERE)
    return route == "fft"


def is_half(x: Tensor) -> bool:
    """Whether products with ``x`` are computed in float16 here, for its own dtype or for autocast."""
    return autocast_dtype(x) == torch.float16


def _working_dtype(x: Tensor) -> torch.dtype:
    """The dtype a transform is computed in; see `dct`."""
    return torch.float32 if is_half(x) else autocast_dtype(x)


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype of a product with ``x``: its own, or autocast's."""
    return torch.get_autocast_dtype(x.device.type) if x.dtype == torch.float32 and in_autocast(x) else x.dtype


def in_autocast(x: Tensor) -> bool:
    """Whether autocast is on where ``x`` lies."""
    return torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)


def _require_floating(x: Tensor) -> None:
    if not x.is_floating_point():
        raise ValueError(f"a DCT needs a real floating-point tensor, got {x.dtype}; cast it first: x.float()")


def _require_tokens(x: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(f"expected tokens of shape (batch, height, width, channels), got {tuple(x.shape)}")


# ---- route 1: matrix product ----------------------------------------------------------------------------------------


def _phase(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """π (2i + 1) k / 2n for row k and column i, reduced to [0, 2π) in exact integers before it is rounded."""
    k = torch.arange(n, device=device)
    size = tensor_length(n, device)
    return ((2 * k + 1) * k[:, None] % (4 * size)).to(dtype) * (math.pi / 2) / size.to(dtype)


def _row_norms(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """√(1/n) for k = 0, √(2/n) above."""
    square = torch.where(torch.arange(n, device=device) == 0, 1.0, 2.0).to(dtype) / tensor_length(n, device).to(dtype)
    return square.sqrt()


@constant
def cosine_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "n n"]:
    """``C`` of the module's docstring."""
    return _row_norms(n, dtype, device)[:, None] * torch.cos(_phase(n, dtype, device))


@constant
def sine_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "n n"]:
    """``S`` of the module's docstring."""
    return (2 / tensor_length(n, device).to(dtype)).sqrt() * torch.sin(_phase(n, dtype, device))


def contract(matrix: Float[Tensor, "m n"], x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """Multiply every line of ``x`` along ``dim`` (length n) by ``matrix``, without a transposed copy of ``x``.

    In the dtype of ``x`` even under autocast: what precision suits is the caller's decision.
    """
    if in_autocast(x):
        with torch.autocast(x.device.type, enabled=False):
            return _multiply(matrix, x, dim)
    return _multiply(matrix, x, dim)


def _multiply(matrix: Tensor, x: Tensor, dim: int) -> Tensor:
    if dim == x.ndim - 1:
        return x @ matrix.transpose(-1, -2)
    if dim == x.ndim - 2:
        return matrix @ x
    return (matrix @ x.flatten(dim + 1)).unflatten(-1, x.shape[dim + 1 :])


# ---- route 2: one real FFT of the same length (Makhoul 1980, IEEE TASSP 28(1)) --------------------------------------


def _dct_fft(x: Tensor, dim: int) -> Tensor:
    """Even entries ascending, odd ones descending; then X_k = Re(w_k V_k) and X_{n-k} = -Im(w_k V_k)."""
    n, dtype = x.shape[dim], x.dtype
    v = _float(x).movedim(dim, -1)
    v = torch.cat([v[..., ::2], v[..., 1::2].flip(-1)], -1)
    y = torch.fft.rfft(v) * _twiddle(n, v)
    y = torch.cat([y.real, -y.imag[..., 1 : (n + 1) // 2].flip(-1)], -1)
    return (y * _norm(n, y)).movedim(-1, dim).to(dtype)


def _idct_fft(y: Tensor, dim: int) -> Tensor:
    """The steps of `_dct_fft` backwards."""
    n, dtype = y.shape[dim], y.dtype
    v = _float(y).movedim(dim, -1)
    v = v / _norm(n, v)
    imaginary = torch.cat([torch.zeros_like(v[..., :1]), -v[..., 1:].flip(-1)], -1)
    half = n // 2 + 1
    v = torch.fft.irfft(torch.complex(v[..., :half], imaginary[..., :half]) * _twiddle(n, v).conj(), n)
    i = torch.arange(n, device=y.device)
    return v[..., torch.where(i % 2 == 0, i // 2, n - 1 - i // 2)].movedim(-1, dim).to(dtype)


def _idst_fft(y: Tensor, dim: int) -> Tensor:
    """sin(π(i + 1/2)k/n) = (-1)^i cos(π(i + 1/2)(n - k)/n): reverse the coefficients, then flip every other sign."""
    n = y.shape[dim]
    v = y.movedim(dim, -1)
    v = _idct_fft(torch.cat([torch.zeros_like(v[..., :1]), v[..., 1:].flip(-1)], -1), v.ndim - 1)
    sign = 1 - 2 * (torch.arange(n, device=y.device) % 2)
    return (v * sign.to(v.dtype)).movedim(-1, dim)


def _float(x: Tensor) -> Tensor:
    return x.to(at_least_float32(x.dtype))


@constant
def _unit_circle(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cosine and sine of -πk / 2n for k = 0 … n // 2."""
    angle = torch.arange(n // 2 + 1, dtype=dtype, device=device) * (-math.pi / 2) / tensor_length(n, device).to(dtype)
    return torch.stack([angle.cos(), angle.sin()], -1)


def _twiddle(n: int, like: Tensor) -> Tensor:
    """w_k = exp(-iπk / 2n) for k = 0 … n // 2."""
    return torch.view_as_complex(_unit_circle(n, like))


_norm = constant(_row_norms)


DCT = Transform(cosine_matrix, False, _dct_fft)
INVERSE = {"cosine": Transform(cosine_matrix, True, _idct_fft), "sine": Transform(sine_matrix, True, _idst_fft)}
