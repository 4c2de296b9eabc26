"""Presets: which one is taken and what is said of it; the rules of the one that is fitted to the pictures; and what a
run says when its loss stands still or overflows.
"""

import math
import shutil
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tinynet import SGD, PlateauSchedule, SoftmaxCrossEntropy
from tinynet.data import ArrayDataset, DataError, Dataset, FolderSplit, make_dataset
from tinynet.data.batches.measuring import typical_side
from tinynet.training import (
    Fitted,
    NonFiniteError,
    Run,
    RunSettings,
    evaluate,
    parse_options,
    setting,
    train_epoch,
)
from tinynet.training.presets import chosen, lower_lr, usual
from tinynet.training.report import stands_still


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    preset: str | None = setting(None, choices=("paper", "small", "drawn"))
    width: float = setting(1.0)
    init: str = setting("paper")
    lr: float = setting(0.01)
    lr_step_size: int = setting(30)


PAPER = Settings(resize=256, crop=227, batch_size=128, epochs=90)
SMALL = Fitted(replace(PAPER, width=0.5, init="he-conv1"), crops=(67, 99, 131))
PRESETS = {"paper": PAPER, "small": SMALL, "drawn": replace(PAPER, epochs=16)}


class Pictures:
    """A split of `count` pictures whose shorter side is `side`."""

    def __init__(self, count: int, side: int | None = None, size: int | None = None):
        self.count = count
        if side is not None:
            self.shorter_side = lambda index: side
        if size is not None:
            self.size = size

    def __len__(self) -> int:
        return self.count


def pictures(*arguments, classes=("cat", "dog"), **options) -> SimpleNamespace:
    return SimpleNamespace(train=Pictures(*arguments, **options), classes=classes)


IMAGENET = tuple(f"n{number:08}" for number in range(1000))


def test_the_usual_preset_is_that_of_the_pictures():
    assert usual(pictures(9), drawn=True)[0] == "drawn"
    assert usual(pictures(9, classes=IMAGENET), drawn=False)[0] == "paper"
    for classes in (IMAGENET[1:], (*IMAGENET[1:], "cat"), ("cat", "dog")):
        assert usual(pictures(9, classes=classes), drawn=False)[0] == "small"


@pytest.mark.parametrize(
    ("count", "side", "expected"),  # resize, crop, batch size, epochs, epochs before the rate is divided
    [
        (100, 224, (148, 131, 16, 60, 36)),
        (543, 224, (148, 131, 32, 60, 36)),
        (3068, 400, (148, 131, 64, 60, 36)),
        (8560, 224, (148, 131, 64, 30, 18)),
        (8560, 118, (112, 99, 64, 30, 18)),  # 148 would enlarge them more than 1.25 times
        (8560, 89, (76, 67, 64, 30, 18)),
        (50_000, 32, (76, 67, 64, 12, 8)),
        (50_000, 400, (112, 99, 64, 12, 8)),  # 131 would take long
        (9000, None, (148, 131, 64, 28, 17)),
    ],
)
def test_the_rules_go_by_the_number_and_the_size_of_the_pictures(count, side, expected):
    settings, rules = SMALL.fit(pictures(count, side))
    found = settings.resize, settings.crop, settings.batch_size, settings.epochs, settings.lr_step_size
    assert found == expected and (settings.width, settings.init) == (0.5, "he-conv1")
    assert {f"resize {expected[0]}, crop {expected[1]}", f"epochs {expected[3]}"} <= rules.keys()


def test_what_was_prepared_at_a_size_is_taken_at_that_size():
    settings, rules = SMALL.fit(pictures(9000, size=256))
    assert (settings.resize, settings.crop) == (256, 227)
    assert rules["resize 256, crop 227"] == "the images were prepared at 256 x 256"
    with pytest.raises(ValueError, match="--crop 67: expected no more than --resize, 60"):
        SMALL.fit(pictures(9000, size=60))


def test_what_is_typed_is_taken_and_said_and_what_follows_from_it():
    settings, lines = chosen(PRESETS, pictures(8560, 224), False, {"width": 1.0, "epochs": 10, "crop": 227, "lr": 0.01})
    assert lines[0].startswith("Preset small (these are not ImageNet's 1,000 classes): ")
    against = "--width 1.0 (the preset: 0.5), --epochs 10 (the preset: 30), --crop 227 (the preset: 131)"
    assert lines[-2:] == [f"  but, as typed: {against}", lines[-1]] and lines[-1].startswith("  --preset paper: ")
    assert (settings.lr_step_size, settings.resize, settings.preset) == (6, 256, "small")
    assert chosen(PRESETS, pictures(9, 224), False, {"resize": 256})[0].crop == 227
    both = {"epochs": 10, "lr_step_size": 7}  # taken by `settled`, as they are; nothing follows
    assert chosen(PRESETS, pictures(9, 224), False, both)[0].lr_step_size == 36

    settings, lines = chosen(PRESETS, pictures(9, 224), False, {"preset": "paper"})
    assert settings == replace(PAPER, preset="paper") and "but, as typed" not in "".join(lines)
    assert lines[0].startswith("Preset paper (as asked)") and lines[1].startswith("  --preset small: ")


def test_a_run_that_goes_on_stays_with_its_preset():
    settings, _ = chosen(PRESETS, pictures(9, 224), False, {"preset": "paper"}, {"preset": "paper"})
    assert settings.preset == "paper"
    for kept in ("paper", None):  # None: of a version that had no presets
        with pytest.raises(ValueError, match="--preset small: a run goes on with the settings that it was begun with"):
            chosen(PRESETS, pictures(9, 224), False, {"preset": "small"}, {"preset": kept})


def test_the_help_has_the_defaults_of_each_preset(capsys):
    with pytest.raises(SystemExit):
        parse_options("", {f"in {name}": preset for name, preset in PRESETS.items()}, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 90; by the pictures in small; 16 in drawn)" in text and "(default: 1.0; 0.5 in small)" in text
    with pytest.raises(SystemExit) as ended:
        parse_options("", PRESETS, ["--preset", "smal"])
    assert ended.value.code == 2
    assert "invalid choice: 'smal' (choose from" in capsys.readouterr().err
    with pytest.raises(TypeError, match="expected a first preset that is not fitted"):
        parse_options("", {"small": SMALL}, [])


# ---- how large pictures are, and what knowing nothing gives ----


def test_the_typical_side_is_the_median_of_those_that_can_be_read(tmp_path):
    for number, (width, height) in enumerate([(30, 20), (40, 90), (50, 70), (60, 60)]):
        Image.new("RGB", (width, height)).save(tmp_path / f"{number}.png")
    split = make_split(tmp_path)
    assert typical_side(split) == 45  # of 20, 40, 50 and 60
    (tmp_path / "cat" / "3.png").write_bytes(b"none")
    (tmp_path / "cat" / "2.png").write_bytes((tmp_path / "cat" / "2.png").read_bytes()[:20])
    assert typical_side(split) == 30
    for name in "01":
        (tmp_path / "cat" / f"{name}.png").unlink()
    assert typical_side(split) is None
    with pytest.raises(DataError, match=r"3\.png: cannot be decoded"):
        split.shorter_side(3)
    assert typical_side(Pictures(9)) is None
    assert typical_side(arrays(np.zeros((4, 30, 20, 3), np.uint8), [0, 1, 0, 1]).train) == 20


def make_split(folder) -> FolderSplit:
    (folder / "cat").mkdir()
    for path in folder.glob("*.png"):
        path.rename(folder / "cat" / path.name)
    return FolderSplit(folder)


def arrays(images, labels, val_labels=None) -> Dataset:
    val_labels = labels if val_labels is None else val_labels
    return ArrayDataset(images, labels, np.resize(images, (len(val_labels), *images.shape[1:])), val_labels)


def test_what_knowing_only_the_shares_of_the_classes_gives():
    images = np.zeros((8, 8, 8, 3), np.uint8)
    even = arrays(images, [0, 1, 2, 3] * 2)
    assert even.label_entropy == pytest.approx(math.log(4)) and even.chance_error == pytest.approx(75)
    uneven = arrays(images, [0, 0, 0, 0, 0, 0, 1, 2], [1, 1, 0])
    assert uneven.label_entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.125)))
    assert uneven.chance_error == pytest.approx(100 / 3)


def test_a_plateau_before_the_error_was_lower_than_chance_divides_nothing():
    schedule = PlateauSchedule(patience=2, chance=90.0)
    errors = [90.0] * 9 + [91, 90.0]
    assert schedule.divisions(errors) == 0
    assert PlateauSchedule(patience=2).divisions(errors) == 3
    learnt = [*errors, 89.9]
    assert [schedule.divisions([*learnt, *[90.0] * waited]) for waited in range(5)] == [0, 0, 1, 1, 2]


# ---- what a run says of its loss ----


def test_a_loss_that_stands_still_is_said_once():
    entropy = math.log(10)
    paper, he = PAPER, replace(PAPER, init="he-conv1")
    said = stands_still([2.303], 66, entropy, paper)
    assert said.startswith("The loss stands still: 2.303 after 66 steps, and knowing no more than each class's share ")
    assert "gives 2.303. If it stays there, what helps is another start, --init he-conv1" in said
    assert "what helps is --lr 0.002: README.md, When the loss stands still" in stands_still([9.0], 6, entropy, he)
    assert stands_still([0.991 * entropy], 66, entropy, paper)
    assert stands_still([0.989 * entropy], 66, entropy, paper) is None
    assert stands_still([2.303, 2.303], 66, entropy, paper) is None
    assert stands_still([2.0, 2.303], 66, entropy, paper) and not stands_still([2.303, 2.0, 2.303], 66, entropy, paper)
    assert stands_still([0.0], 66, 0.0, paper) is None  # one class: nothing to learn


def test_the_rate_to_try_is_the_presets_or_a_fifth():
    assert lower_lr(replace(PAPER, lr=3.0), PAPER) == 0.01
    assert lower_lr(PAPER, PAPER) == pytest.approx(0.002)
    without = RunSettings(resize=9, crop=9, batch_size=1, epochs=1)
    assert lower_lr(without, without) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images") / "drawn"
    return make_dataset(root, size=72, classes=3, train_per_class=12, val_per_class=4)


def train(folder, out, *options) -> None:
    typed = parse_options("", PRESETS, ["--data", str(folder), "--output-dir", str(out), *map(str, options)])
    with Run.open(typed, "tiny") as run:
        data = run.open_data()
        s = run.settle(PRESETS)
        net = run.build("alexnet", num_classes=3, width=0.06, input_size=s.crop, initialization=s.init)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr)
        run.begin(net, optimizer)
        images = run.batches(scale=1.0 if s.init == "paper" else None)
        for epoch in run.epochs(s.epochs):
            trained = train_epoch(net, loss, optimizer, images.train, images.prepare, epoch)
            epoch.end(trained, evaluate(net, images.val, images.prepare, epoch))
        run.finish()
        assert data is run.data


def test_a_run_says_which_preset_and_once_that_nothing_is_learnt(folder, tmp_path, capsys):
    paper = "--preset", "paper", "--resize", 72, "--crop", 67, "--batch-size", 16
    train(folder, tmp_path / "a", *paper, "--epochs", 2)
    printed = capsys.readouterr().out
    assert "Preset paper (as asked): " in printed and "  but, as typed: --resize 72 (the preset: 256)" in printed
    assert printed.count("The loss stands still: 1.") == 1 and "after 3 steps" in printed
    train(folder, tmp_path / "a", "--resume", "--epochs", 3)
    resumed = capsys.readouterr().out
    assert "epoch  3/3" in resumed and "stands still" not in resumed and "Preset" not in resumed
    with pytest.raises(ValueError, match="--preset small: a run goes on with the settings"):
        train(folder, tmp_path / "a", "--resume", "--preset", "small", "--override")


def test_a_loss_that_overflows_names_the_rate_to_try(folder, tmp_path):
    with pytest.raises(NonFiniteError, match=r"learning rate of 1e\+12; .* Try --lr 0\.01\.$"):
        train(folder, tmp_path / "a", "--epochs", 1, "--lr", 1e12)


def test_what_is_typed_before_the_settings_are_known_has_its_bounds_too(folder, tmp_path):
    with pytest.raises(ValueError, match=r"--val-share 1\.0: expected less than 1"):
        train(folder, tmp_path / "a", "--val-share", 1)
    assert not (tmp_path / "a").exists()


def test_one_class_alone_is_said(folder, tmp_path, capsys):
    for split in ("train", "val"):
        name = min(path.name for path in (folder / split).iterdir())
        shutil.copytree(folder / split / name, tmp_path / "one" / split / name)
    typed = parse_options("", PRESETS, ["--data", str(tmp_path / "one")])
    with Run.open(typed, "tiny") as run:
        run.open_data()
    assert f"only one class, {name}, so there is nothing to tell apart" in capsys.readouterr().err
