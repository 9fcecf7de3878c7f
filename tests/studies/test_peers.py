"""The comparison's tables hold what its runs said."""

import pytest

from studies.peers import page, run


@pytest.mark.parametrize("path", page.PAGES, ids=lambda path: path.parent.name)
def test_the_tables_are_those_of_the_results(path):
    text = path.read_text()
    assert page.TABLE.search(text)
    assert page.with_tables(text) == text, "run: uv run python -m studies.peers.page"


def test_a_mean_has_its_spread_from_three_seeds_on(tmp_path, monkeypatch):
    shared = {"recipe": "camvid", "epochs": 1, "parameters": 2_000_000, "macs": 6e8, "train_images_per_s": 10}
    scores = {"test_boundary_IoU": 0.5, "test_aAcc": 0.9}
    rows = [
        {**shared, "model": model, "start": "scratch", "seed": seed, "test_mIoU": value, **scores, "macs": 600_000_000}
        for model, values in (("resnet18", [0.2]), ("dsm_zepto", [0.3, 0.31, 0.32]))
        for seed, value in enumerate(values)
    ]
    monkeypatch.setitem(run.TABLES, "camvid", tmp_path / "camvid.csv")
    run.write(tmp_path / "camvid.csv", rows)
    lines = page.markdown("camvid").splitlines()
    assert lines[2].startswith("| `dsm_zepto` | scratch | 3 | 2.00 | 600 | 31.00 ± 1.00 |")
    assert lines[3].startswith("| `resnet18` | scratch | 1 | 2.00 | 600 | 20.00 |")


def test_the_options_of_every_run_are_accepted(tmp_path):
    from dsmixer.cli.options import read_recipe, resolve

    for recipe in run.FOLDERS:
        for model in run.MODELS:
            asked = run.options(recipe, model, "scratch", 1, tmp_path)
            config = resolve(read_recipe(recipe)[1], asked[1:])
            assert (config.model.name, config.run.seed) == (model, 1)
