"""Every head, on our backbone and on peers': any size, every parameter, right when exported."""

import warnings

import onnxruntime
import pytest
import timm
import torch
from torch import nn

from dsmixer.heads import Segmenter
from dsmixer.heads.segmenter import HEADS

NARROW = {"upernet": {"dim": 16}, "semantic_fpn": {"dim": 16, "pyramid_dim": 24}}


def segmenter(head: str, backbone: str = "dsm_test", **options) -> Segmenter:
    torch.manual_seed(0)
    options = {"head": head, "head_kwargs": NARROW[head], **options}
    return Segmenter(backbone, 5, **options)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(64, 64), (33, 97), (5, 130), (1, 1)])
def test_every_pixel_is_labelled_at_any_size(head, size):
    model = segmenter(head).eval()
    logits = model(torch.randn(2, 3, *size))
    assert logits.shape == (2, 5, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", ["dsm_test", "resnet10t", "convnext_atto"])
def test_every_parameter_learns_on_ours_and_on_peers(head, backbone):
    model = segmenter(head, backbone).train()
    assert model.backbone.feature_info.reduction() == [4, 8, 16, 32]
    for parameter in model.parameters():  # what starts at zero holds back the gradient of what lies behind it
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.main.shape == logits.auxiliary.shape == (2, 5, 64, 64)
    (logits.main.square().mean() + logits.auxiliary.square().mean()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("head", HEADS)
def test_images_of_a_batch_do_not_see_each_other(head):
    model = segmenter(head).eval()
    images = torch.randn(3, 3, 48, 64)
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-4, atol=1e-5)


def test_a_pixel_is_labelled_by_the_whole_image():
    """UPerNet's pooling and our mixers are global: the far corner moves the logits of this one."""
    model = segmenter("upernet").eval()
    images = torch.randn(1, 3, 128, 128)
    changed = images.clone()
    changed[..., -8:, -8:] += 3
    assert (model(images)[..., :4, :4] - model(changed)[..., :4, :4]).abs().max() > 1e-6


DIMS, STRIDES = [8, 12, 16, 24], (4, 8, 16, 32)


def features(height: int, width: int) -> list[torch.Tensor]:
    """As a pyramid gives them for an image of that size."""
    return [torch.randn(1, dim, -(-height // s), -(-width // s)) for dim, s in zip(DIMS, STRIDES, strict=True)]


@pytest.mark.parametrize("head", HEADS)
def test_an_exported_head_is_right_at_sizes_that_were_not_traced(head, tmp_path):
    model = HEADS[head](DIMS, 5, **NARROW[head]).eval()
    for module in model.modules():  # statistics as after training: what was exported must not be an identity
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    path = tmp_path / "head.onnx"
    sides = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about torch functions it uses
        torch.onnx.export(
            model, (features(320, 256),), path, dynamo=True, dynamic_shapes=([sides] * len(DIMS),), verbose=False
        )
    session = onnxruntime.InferenceSession(path)
    names = [given.name for given in session.get_inputs()]
    for size in ((320, 256), (256, 320), (416, 608), (275, 511)):
        x = features(*size)
        with torch.inference_mode():
            expected = model(x)
        feed = {name: level.numpy() for name, level in zip(names, x, strict=True)}
        found = torch.from_numpy(session.run(None, feed)[0])
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("backbone", ["dsm_test", "resnet10t"])
def test_layer_decay_slows_the_backbone_from_its_end_to_its_stem(backbone):
    from timm.optim import param_groups_layer_decay

    model = segmenter("upernet", backbone)
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    scale = {names[parameter]: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert scale["head.classifier.weight"] == 1
    inner = [value for name, value in scale.items() if name.startswith("backbone")]
    first = next(value for name, value in scale.items() if name.startswith("backbone.model."))
    assert max(inner) <= 1
    assert first == min(scale.values()) < 0.5


def test_a_wrong_name_is_a_sentence():
    with pytest.raises(ValueError, match="head 'unet' is unknown; use 'upernet' or 'semantic_fpn'"):
        Segmenter("dsm_test", 5, head="unet")
    with pytest.raises(ValueError, match="backbone is 'dsm_tset', which is not registered"):
        Segmenter("dsm_tset", 5)


@pytest.mark.parametrize("head", HEADS)
def test_as_in_the_papers_by_default(head):
    """UPerNet on a Tiny backbone has about 60M parameters (ConvNeXt-T: 60M, Swin-T: 60M); Semantic FPN is light."""
    with torch.device("meta"):
        model = Segmenter("dsm_tiny", 150, head=head)
        backbone = timm.create_model("dsm_tiny", num_classes=0)
    size, bare = (sum(p.numel() for p in m.parameters()) / 1e6 for m in (model, backbone))
    assert (55 < size < 65) if head == "upernet" else (size < bare + 8)
