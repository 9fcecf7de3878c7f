"""Kept decoded, images are what they were; what cannot be read is refused as before."""

import pytest
import torch

from dsmixer.data.bad import BadFiles
from dsmixer.data.cache import InMemory, in_memory
from dsmixer.data.loader import CountedBatches, Feed, Images
from dsmixer.data.splits import open_splits

from .crafted import class_folders
from .dirty import FILES
from .test_loader import AUGMENTED


@pytest.fixture
def splits(tmp_path):
    class_folders(tmp_path / "train", {"ant": 8, "moths": 8})
    class_folders(tmp_path / "test", {"ant": 2, "moths": 2}, "JPEG")
    (tmp_path / "train" / "ant" / "x.png").write_bytes(FILES["half.png"][0])
    (tmp_path / "train" / "moths" / "y.jpg").write_bytes(FILES["rotated.jpg"][0])
    return open_splits("auto", str(tmp_path), 0.2)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_bad_files_too(splits, workers):
    found = []
    for part in (splits.train, in_memory(splits, "RGB").train):
        images = Images(part, "RGB", AUGMENTED, seed=5, replace=True)
        plan = CountedBatches(len(images), 4, batches_per_epoch=len(images) // 4, epochs=3, seed=5, start=0)
        found.append(list(Feed(images, plan, workers, 60, BadFiles(None, 1, 30, lambda _: None))))
    for batch, expected in zip(*found, strict=True):
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.rows, expected.rows)
        assert batch.bad == expected.bad
    assert any(batch.bad for batch in found[0])


def test_carved_splits_share_what_is_kept_and_nobody_can_change_it(splits):
    kept = in_memory(splits, "L")
    assert kept.train.source is kept.val.source is not kept.test.source
    image = kept.test.source.image(0, "L")
    before = image.tobytes()
    image.paste(0, (0, 0, *image.size))
    assert kept.test.source.image(0, "L").tobytes() == before == splits.test.source.image(0, "L").tobytes()


def test_what_is_bad_is_known_once_everything_is_decoded(splits, tmp_path):
    (tmp_path / "test" / "ant" / "ant-1.jpeg").write_bytes(b"")
    (_, reason), empty = in_memory(splits, "RGB").bad
    assert empty == ("test/ant/ant-1.jpeg", "empty")
    assert in_memory(splits, "L").bad[0] == ("train/ant/x.png", reason)
    assert reason.startswith("damaged image")


def test_what_does_not_fit_is_refused(splits):
    size = sum(4 * image.width * image.height for image in (splits.test.source.image(row, "RGB") for row in range(4)))
    InMemory(splits.test.source, "RGB", size)
    with pytest.raises(ValueError, match=r"^4 of 4 decoded images take more than .* GB, .*; set data.cache to none"):
        InMemory(splits.test.source, "RGB", size - 1)
