"""Every detector on every kind of backbone learns, answers in the image's own pixels, and says what it cannot do."""

import pickle
from pathlib import Path

import pytest
import timm
import torch

import dsmixer  # noqa: F401 - registers the models
from dsmixer.heads.backbone import features
from dsmixer.heads.detectors import KINDS, Detector, Pyramid


def build(kind="retinanet", backbone="dsm_test", **options):
    torch.manual_seed(0)
    settings = {"min_size": 128, "max_size": 192, "fpn_channels": 64, "detections": 7, **options}
    return Detector(kind, backbone, 3, **settings)


def sample(kind, *, empty):
    """Two images of different sizes, the second without objects; with ``empty`` neither has any."""
    first = 0 if empty else 2
    background = KINDS[kind].background
    targets = [
        {
            "boxes": torch.tensor([[10.0, 12.0, 60.0, 70.0], [40.0, 30.0, 90.0, 110.0]])[:count],
            "labels": (torch.tensor([0, 2]) + background)[:count],
            "masks": torch.ones(2, 128, 160, dtype=torch.uint8)[:count, :height, :width],
        }
        for count, height, width in ((first, 128, 160), (0, 120, 96))
    ]
    return [torch.rand(3, 128, 160), torch.rand(3, 120, 96)], targets


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_moves_the_mixers_and_an_answer_is_in_the_images_pixels(kind):
    model = build(kind, score_threshold=0.0).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters() if "mixer.proj.weight" in name}
    assert before
    losses = model(*sample(kind, empty=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    sum(losses.values()).backward()
    optimizer.step()
    after = dict(model.named_parameters())
    assert all(not torch.equal(after[name], value) for name, value in before.items())
    assert all(loss.isfinite() for loss in losses.values())
    assert all(loss.isfinite() for loss in model(*sample(kind, empty=True)).values())
    with torch.inference_mode():
        outputs = model.eval()([torch.rand(3, 250, 300), torch.rand(3, 64, 50)])
    for output, (height, width) in zip(outputs, ((250, 300), (64, 50)), strict=True):
        assert len(output["boxes"]) == len(output["labels"]) == len(output["scores"]) == 7
        corners = output["boxes"].view(-1, 2)
        assert (corners >= 0).all()
        assert (corners <= torch.tensor([width, height])).all()
        assert set(output["labels"].tolist()) <= {label + KINDS[kind].background for label in range(3)}
        if KINDS[kind].masks:
            assert output["masks"].shape == (7, 1, height, width)
    assert outputs[0]["boxes"][:, 2].max() > 192  # not in those of the resized image


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_copy_by_pickle_answers_the_same(kind):
    model, images = build(kind, score_threshold=0.0).eval(), [torch.rand(3, 64, 50)]
    (before,), (after,) = model(images), pickle.loads(pickle.dumps(model))(images)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("backbone", ["dsm_test", "resnet18", "swin_tiny_patch4_window7_224"])
def test_pyramids_have_the_strides_of_the_detector(backbone):
    options = {"strict_img_size": False} if "swin" in backbone else {}
    body = features(backbone, options).eval()
    for strides, further, sizes in (
        ((4, 8, 16, 32), "pool", [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]),
        ((8, 16, 32), "C5", [(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)]),
    ):
        with torch.inference_mode():
            maps = Pyramid(body, strides, 8, further)(torch.rand(1, 3, 128, 160))
        assert [tuple(feature.shape[1:]) for feature in maps.values()] == [(8, *size) for size in sizes]


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_fcos_makes_its_coarser_levels_from_the_pyramid_and_retinanet_from_the_backbone(kind, same):
    last = features("resnet10t", {}).feature_info.channels()[-1]
    pyramid = build(kind, "resnet10t", fpn_channels=last if same else 64).network.backbone.eval()
    used = []
    pyramid.fpn.extra_blocks.p6.register_forward_hook(lambda module, inputs, output: used.append(inputs[0]))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        maps = pyramid(image)
        wanted = maps["2"] if kind == "fcos" else pyramid.body(image)[-1]
    torch.testing.assert_close(used[0], wanted)


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet", "fcos"])  # Mask R-CNN has the boxes of the first
def test_boxes_are_not_rounded_to_half_precision(kind):
    model = build(kind, score_threshold=0.0, min_size=320, max_size=640, detections=20).eval()
    if kind == "fasterrcnn":
        compared = {}
        samples = model.network.roi_heads.select_training_samples

        def watched(proposals, targets):
            compared["dtype"] = proposals[0].dtype
            return samples(proposals, targets)

        model.network.roi_heads.select_training_samples = watched
        with torch.autocast("cpu", torch.bfloat16):
            model.train()(*sample(kind, empty=False))
        assert compared["dtype"] == torch.float32
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (output,) = model.eval()([torch.rand(3, 320, 640)])
    far = output["boxes"][output["boxes"] > 256]
    assert ((far % 2 != 0) & (far < 640)).sum() > 5  # bfloat16 has nothing between 256, 258, 260 ...


def test_regions_are_taken_from_where_they_lie_whatever_was_seen_first():
    """torchvision infers the strides from the first batch: 16 tokens of 40 padded pixels look like stride 2."""
    image = torch.rand(3, 160, 160)
    first, second = (
        build("fasterrcnn", min_size=side, max_size=side, score_threshold=0.0).eval() for side in (160, 40)
    )
    with torch.inference_mode():
        (expected,) = first([image])
        second([torch.rand(3, 40, 40)])
        second.network.transform.min_size, second.network.transform.max_size = (160,), 160
        (found,) = second([image])
    assert torch.equal(found["boxes"], expected["boxes"])


@pytest.mark.parametrize("kind", KINDS)
def test_training_images_keep_their_size_and_others_do_not(kind):
    transform = build(kind, min_size=64).network.transform
    for training, size in ((True, (96, 128)), (False, (64, 85))):
        assert transform.train(training)([torch.rand(3, 96, 128)])[0].image_sizes == [size]


def test_normalization_is_the_backbones():
    assert build().network.transform.image_mean == [0.485, 0.456, 0.406]
    assert build(backbone="tf_efficientnet_lite0").network.transform.image_mean == [0.5, 0.5, 0.5]


def test_weights_of_a_classifier_start_the_body():
    torch.manual_seed(5)
    classifier = timm.create_model("dsm_test", num_classes=10)
    weights, path = classifier.state_dict(), Path("model.safetensors")
    model = build()
    model.start_backbone(weights, path)
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        ours = model.eval().get_submodule(model.body)(x)
        for mine, theirs in zip(ours, classifier.eval().forward_intermediates(x)[1], strict=True):
            assert torch.equal(mine, theirs)
    with pytest.raises(ValueError, match=r"model.safetensors does not fit this backbone: stem.*is of shape"):
        build(backbone="dsm_atto").start_backbone(weights, path)
    with pytest.raises(ValueError, match=r"does not fit this backbone: .* is missing"):
        build(backbone="resnet18").start_backbone(weights, path)


@pytest.mark.parametrize("backbone", ["dsm_test", "resnet10t"])
def test_layer_decay_slows_the_body_from_its_end_to_its_stem(backbone):
    from timm.optim import param_groups_layer_decay

    model = build(backbone=backbone)
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    scale = {names[parameter]: group["lr_scale"] for group in groups for parameter in group["params"]}
    inner = {name: value for name, value in scale.items() if name.startswith(f"{model.body}.")}
    assert {value for name, value in scale.items() if name not in inner} == {1}
    assert next(iter(inner.values())) == min(scale.values()) < 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "yolo"}, "detector is 'yolo'; choose fasterrcnn"),
        ({"backbone": "dsm_huge"}, "backbone is 'dsm_huge', which is not registered"),
        ({"backbone_kwargs": {"stem_stride": 2}}, r"strides \[2, 4, 8, 16\]; this detector also needs \[32\]"),
        ({"kind": "fcos", "fpn_channels": 32}, "fpn_channels is 32, but FCOS needs a multiple of 32 from 64"),
    ],
)
def test_mistakes_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
