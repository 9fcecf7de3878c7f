"""Any input size with the same weights, in every precision and layout, eager, compiled and exported."""

import copy
import math
import warnings

import pytest
import timm
import torch

from .conftest import MODELS, SMALL, enliven, images

SIZES = ((32, 32), (1, 1), (33, 47), (225, 97), (64, 512), (1024, 1024), (224, 224))


def test_any_size_then_another(lively):
    """In one process, the same module; a grid that does not divide is rounded up."""
    with torch.no_grad():
        for height, width in SIZES:
            features = lively.forward_features(images(height, width, batch=1))
            assert features.shape[-2:] == (math.ceil(height / 32), math.ceil(width / 32))
            assert torch.isfinite(features).all()
        first = lively(images(32, 32))
        lively(images(50, 70))
        assert torch.equal(lively(images(32, 32)), first)


@pytest.mark.parametrize("name", MODELS)
def test_every_variant_accepts_odd_sizes(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=3).eval()
        assert model(torch.empty(1, 3, 225, 97)).shape == (1, 3)


def test_the_border_keeps_every_pixel(lively):
    """The last row and column of an image whose side does not divide by the stride still reach the logits."""
    x = images(33, 35, batch=1).requires_grad_()
    lively(x).sum().backward()
    assert (x.grad[0, :, -1, :].abs().sum(0) > 0).all()
    assert (x.grad[0, :, :, -1].abs().sum(0) > 0).all()


def test_the_order_of_the_batch_does_not_matter(lively):
    x = images(40, 40, batch=3)
    with torch.no_grad():
        assert torch.allclose(lively(x).flip(0), lively(x.flip(0)), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(lively, dtype):
    x = images(64, 96)
    with torch.no_grad():
        expected = lively(x)
        with torch.autocast("cpu", dtype):
            autocast = lively(x)
        cast = copy.deepcopy(lively).to(dtype)(x.to(dtype))
    assert cast.dtype == dtype
    # Ten roundings of 8 (bfloat16) or 11 (float16) bits, one after another.
    tolerance = {torch.bfloat16: 0.1, torch.float16: 0.02}[dtype] * expected.abs().max()
    assert (autocast.float() - expected).abs().max() < tolerance
    assert (cast.float() - expected).abs().max() < tolerance


def test_channels_last(lively):
    x = images(48, 32)
    with torch.no_grad():
        expected = lively(x)
        actual = lively.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        features = lively.forward_features(x)
    assert torch.allclose(actual, expected, atol=1e-5)
    assert features.is_contiguous(memory_format=torch.channels_last)


def test_compiles_as_one_graph_for_changing_sizes():
    lively = enliven(timm.create_model(SMALL, depths=(1, 1), dims=(16, 32), num_classes=7)).eval()
    compiled = torch.compile(lively, fullgraph=True, backend="eager", dynamic=True)
    with torch.no_grad():
        for size in ((32, 32), (48, 33), (65, 40)):
            assert torch.allclose(compiled(images(*size)), lively(images(*size)), atol=1e-4)


def test_exported_to_onnx_it_is_right_at_sizes_that_were_not_traced(tmp_path):
    import onnxruntime

    # Two stages hold every kind of layer; exporting four takes a minute here.
    lively = enliven(timm.create_model(SMALL, depths=(1, 1), dims=(16, 32), num_classes=7)).eval()
    path = tmp_path / "model.onnx"
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of deprecated torch functions
        torch.onnx.export(lively, (images(96, 128),), path, dynamo=True, dynamic_shapes=(free,), verbose=False)
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    for batch, size in ((2, (96, 128)), (1, (224, 224)), (3, (100, 75)), (1, (333, 65))):
        x = images(*size, batch=batch)
        with torch.no_grad():
            expected = lively(x)
        actual = torch.from_numpy(session.run(None, {name: x.numpy()})[0])
        assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")  # deprecated, and works
def test_a_torchscript_trace_is_right_at_sizes_that_were_not_traced():
    lively = enliven(timm.create_model(SMALL, depths=(1, 1), dims=(16, 32), num_classes=7)).eval()
    traced = torch.jit.trace(lively, images(32, 48), check_trace=False)
    with torch.no_grad():
        for batch, size in ((2, (96, 128)), (3, (100, 75)), (1, (1, 1))):
            x = images(*size, batch=batch)
            expected = lively(x)
            assert (traced(x) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_deep_and_wide_models_start_sane():
    """Logits of an untrained model are finite and of moderate size at its usual resolution."""
    model = timm.create_model("dsm_atto").eval()
    with torch.no_grad():
        logits = model(images(224, 224, batch=1))
    assert torch.isfinite(logits).all()
    assert logits.abs().max() < 10


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r"floating point, got torch\.uint8; .*x\.float\(\) / 255"),
        (torch.zeros(3, 32, 32), r"got \(3, 32, 32\); add a batch dimension"),
        (torch.zeros(0, 3, 32, 32), r"\(0, 3, 32, 32\), which hold no pixel"),
        (torch.zeros(1, 3, 0, 32), r"\(1, 3, 0, 32\), which hold no pixel"),
        (torch.zeros(1, 1, 32, 32), r"takes images of 3 channels, got shape \(1, 1, 32, 32\).*in_chans=1"),
        (torch.zeros(1, 32, 32, 3), r"permute channels to the front"),
    ],
)
@pytest.mark.parametrize("features_only", [False, True])
def test_images_that_are_none_are_named(x, message, features_only):
    model = timm.create_model(SMALL, features_only=features_only)
    with pytest.raises(ValueError, match=message):
        model(x)
