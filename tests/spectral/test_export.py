"""Exported graphs are right at sizes that were never traced; and this test can tell when they are not."""

import importlib
import math
import warnings

import onnxruntime
import pytest
import torch
from torch import nn

from dsmixer.spectral import band_powers, dct2, polynomial_response, spectrum_weights, synthesis2

module_dct = importlib.import_module("dsmixer.spectral.dct")

TRACED = (12, 10)
UNSEEN = ((7, 16), (16, 7), (33, 24), (5, 5))


class Spectral(nn.Module):
    """Every function of the room that depends on a size, in one graph."""

    def forward(self, x):
        s = dct2(x)
        gains = torch.sigmoid(band_powers(s.square(), 5))
        weights = spectrum_weights(gains, s.shape[1], s.shape[2])
        response = polynomial_response(torch.ones(3, 3, 3), s.shape[1], s.shape[2], ("sine", "cosine"))
        return synthesis2(s * weights * response, "sine", "cosine")


def dynamic():
    return {1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}


def worst_error(run, sizes=UNSEEN) -> float:
    """Largest difference from eager over ``sizes``, relative to the largest value."""
    worst = 0.0
    for size in sizes:
        x = torch.randn(2, *size, 3)
        expected = Spectral()(x)
        worst = max(worst, float((run(x) - expected).abs().max() / expected.abs().max()))
    return worst


def onnx_error(path) -> float:
    with warnings.catch_warnings():
        # The exporter warns about its own use of deprecated torch functions; nothing here is ours to change.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Spectral(), (torch.randn(2, *TRACED, 3),), path, dynamo=True, dynamic_shapes=(dynamic(),), verbose=False
        )
    return worst_error(run_onnx(path))


def run_onnx(path):
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def test_torch_export_at_unseen_sizes():
    program = torch.export.export(Spectral(), (torch.randn(2, *TRACED, 3),), dynamic_shapes=(dynamic(),))
    assert worst_error(program.module()) < 1e-5


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")  # deprecated, and works
def test_torchscript_trace_at_unseen_sizes():
    assert worst_error(torch.jit.trace(Spectral(), torch.randn(2, *TRACED, 3))) < 1e-5


def test_onnx_at_unseen_sizes(tmp_path):
    assert onnx_error(tmp_path / "spectral.onnx") < 1e-5


def test_a_matrix_that_freezes_the_traced_length_is_caught(tmp_path, monkeypatch):
    """Mutation: the norm is computed from the length as a number. It exports without complaint, is right at the traced
    size and wrong at every other: what ``math.sqrt(2 / n)`` did in earlier releases, which newer ones mostly refuse."""

    def wrong(n, like):
        traced_length = n.node.hint if isinstance(n, torch.SymInt) else n
        k = torch.arange(n)
        norm = torch.where(k == 0, math.sqrt(1 / traced_length), math.sqrt(2 / traced_length))
        return norm[:, None] * torch.cos((2 * k + 1) * k[:, None] * (math.pi / 2) / n)

    right = module_dct.cosine_matrix
    assert torch.allclose(wrong(9, None), right(9, torch.ones(())), atol=1e-6)

    def cosine_matrix(n, like):
        return (wrong if module_dct.is_traced(like) else right)(n, like)

    monkeypatch.setattr(module_dct, "DCT", module_dct.DCT._replace(matrix=cosine_matrix))
    path = tmp_path / "wrong.onnx"
    assert onnx_error(path) > 1e-2
    assert worst_error(run_onnx(path), [TRACED]) < 1e-5
