"""What users reach for next takes a `dsm_*` model unchanged: one training step each."""

import pytest
import timm
import torch

import dsmixer  # noqa: F401 - registers the models

NAME = "dsm_test"


def step(model: torch.nn.Module, loss: torch.Tensor) -> None:
    """One update, which must be finite and must move the backbone's mixers."""
    before = {name: p.detach().clone() for name, p in model.named_parameters() if "mixer.proj.weight" in name}
    assert before, "the backbone is not in the model"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    after = dict(model.named_parameters())
    assert all(not torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("decoder", ["UPerNet", "FPN", "Unet", "DeepLabV3Plus"])
def test_segmentation_models_pytorch(decoder):
    import segmentation_models_pytorch as smp

    model = getattr(smp, decoder)(f"tu-{NAME}", encoder_weights=None, classes=5).train()
    logits = model(torch.randn(2, 3, 64, 96))
    assert logits.shape == (2, 5, 64, 96)
    step(model, torch.nn.functional.cross_entropy(logits, torch.randint(5, (2, 64, 96))))


@pytest.fixture
def pyramid():
    from torchvision.models.detection.backbone_utils import BackboneWithFPN

    body = timm.create_model(NAME, features_only=True)
    layers = {f"stages_{index}": str(index) for index in range(4)}
    return BackboneWithFPN(body, layers, body.feature_info.channels(), out_channels=16)


@pytest.mark.parametrize("detector", ["RetinaNet", "FasterRCNN"])
def test_torchvision_detectors_on_a_feature_pyramid(detector, pyramid):
    from torchvision.models import detection
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = ((16,), (32,), (64,), (128,), (256,))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    name = "anchor_generator" if detector == "RetinaNet" else "rpn_anchor_generator"
    model = getattr(detection, detector)(pyramid, num_classes=3, min_size=128, max_size=192, **{name: anchors}).train()
    images = [torch.rand(3, 120, 160), torch.rand(3, 100, 90)]
    targets = [
        {"boxes": torch.tensor([[10.0, 12.0, 60.0, 70.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},  # an image without any object
    ]
    step(model, sum(model(images, targets).values()))


def test_transformers_timm_backbone():
    from transformers import AutoBackbone, TimmBackboneConfig

    config = TimmBackboneConfig(backbone=NAME, out_indices=[0, 1, 2, 3], use_pretrained_backbone=False)
    model = AutoBackbone.from_config(config).train()
    maps = model(torch.randn(2, 3, 64, 96)).feature_maps
    assert [tuple(m.shape[-2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert list(model.channels) == [m.shape[1] for m in maps]
    step(model, sum(m.square().mean() for m in maps))


def test_transformers_upernet_saves_and_loads(tmp_path):
    from transformers import TimmBackboneConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = TimmBackboneConfig(backbone=NAME, out_indices=[0, 1, 2, 3], use_pretrained_backbone=False)
    config = UperNetConfig(
        backbone_config=backbone, num_labels=4, hidden_size=16, auxiliary_in_channels=48, auxiliary_channels=16
    )
    model = UperNetForSemanticSegmentation(config).train()
    result = model(torch.randn(2, 3, 64, 64), labels=torch.randint(4, (2, 64, 64)))
    step(model, result.loss)
    model.save_pretrained(tmp_path)
    again = UperNetForSemanticSegmentation.from_pretrained(tmp_path).eval()
    weights = again.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(x).logits, model.eval()(x).logits)
