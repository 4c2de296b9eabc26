"""Settings: what is typed goes before what a checkpoint keeps, and that before the preset; bounds, types and help."""

import argparse
from dataclasses import asdict, dataclass, replace

import pytest

from tinynet import CheckpointError
from tinynet.training import RunSettings, setting
from tinynet.training.settings import add_options, check_kept, settle, typed_settings


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    width: float = setting(1.0, "100 % of the paper's", group="the network", above=0)
    order: str = setting("paper", choices=("paper", "other"))
    groups: int = setting(2, least=1)
    devices: int | None = setting(None, "that share it", like="groups")


PRESET = Settings(resize=8, crop=6, batch_size=4, epochs=9)
SMALL = replace(PRESET, width=0.5, epochs=2)


def parse(*arguments: str) -> dict:
    parser = argparse.ArgumentParser()
    add_options(parser, {"always": PRESET, "when small": SMALL})
    return typed_settings(parser.parse_args(arguments), Settings)


def test_only_what_is_typed_is_known_and_has_its_type():
    assert parse() == {}
    typed = parse("--width", "2", "-b", "7", "--tensorboard", "--devices", "3", "--order", "other")
    assert typed == {"width": 2.0, "batch_size": 7, "tensorboard": True, "devices": 3, "order": "other"}
    assert parse("--no-tensorboard") == {"tensorboard": False}


def test_typed_goes_before_kept_and_kept_before_the_preset():
    kept = {"width": 0.25, "epochs": 5, "crop": 7, "classes": ["a"]}
    settled = settle(PRESET, {"epochs": 6}, kept)
    assert (settled.width, settled.epochs, settled.crop, settled.resize) == (0.25, 6, 7, 8)
    assert settle(PRESET, {}).epochs == 9 and settle(SMALL, {}).epochs == 2
    with pytest.raises(ValueError, match=r"^--width 0\.5: the checkpoint was made with 0\.25; --override takes it all"):
        settle(PRESET, {"width": 0.5}, kept)
    assert settle(PRESET, {"width": 0.25}, kept).width == 0.25
    assert settle(PRESET, {"width": 0.5}, kept, override=True).width == 0.5
    assert settle(PRESET, {"width": 0.5}).width == 0.5


def test_a_setting_like_another_follows_it_and_what_was_kept_stays():
    assert settle(PRESET, {}).devices == 2
    assert settle(PRESET, {"groups": 3}).devices == 3
    assert settle(PRESET, {"devices": 1}).devices == 1
    assert settle(PRESET, {"groups": 1}, asdict(settle(PRESET, {})), override=True).devices == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs 0: expected 1 or more"),
        ({"batch_size": -1}, "--batch-size -1: expected 1 or more"),
        ({"width": 0.0}, "--width 0.0: expected more than 0"),
        ({"width": float("nan")}, "--width nan: expected more than 0"),
        ({"width": float("inf")}, "--width inf: expected a finite number"),
        ({"order": "x"}, "--order x: expected one of paper, other"),
        ({"crop": 9}, "--crop 9: expected no more than --resize, 8"),
        ({"max_bad": 1.5}, "--max-bad 1.5: expected a share of the images from 0 to 1"),
        ({"checkpoint_minutes": 0.0}, "--checkpoint-minutes 0.0: expected more than 0"),
        ({"checkpoint_steps": 0}, "--checkpoint-steps 0: expected 1 or more"),
        ({"keep": 0}, "--keep 0: expected 1 or more"),
        ({"measure_images": 0}, "--measure-images 0: expected 1 or more"),
    ],
)
def test_values_that_cannot_be_are_named_by_their_options(change, message):
    for make in (lambda: replace(PRESET, **change), lambda: settle(PRESET, change), lambda: settle(PRESET, {}, change)):
        with pytest.raises(ValueError) as caught:
            make()
        assert str(caught.value) == message


def test_what_a_checkpoint_keeps_is_of_the_right_type_and_known():
    def check(kept: dict) -> None:
        check_kept(kept, Settings, {"classes"}, "step-1")

    check(asdict(PRESET) | {"classes": []})
    check({"width": 1, "seed": -1, "devices": None, "checkpoint_steps": 5})
    wrong = {"width": ["1", True, None, float("nan")], "seed": [1.5, None, True], "order": ["x", [], 7, None]}
    wrong |= {"devices": ["1", 2.0, []], "tensorboard": [0, None, "no"], "checkpoint_steps": [{}]}
    for name, value in ((name, value) for name, values in wrong.items() for value in values):
        with pytest.raises(CheckpointError, match=f"^step-1: its settings: {name} cannot be "):
            check({name: value})
    with pytest.raises(CheckpointError, match=r"^step-1: has settings that this job does not know: depth, we\\x1bdth$"):
        check({"we\x1bdth": 1, "depth": 16, "width": 1.0})
    with pytest.raises(CheckpointError) as caught:
        check({"x" * 5000: 1} | {f"y{number}": 1 for number in range(99)})
    assert len(str(caught.value)) < 300


def test_help_has_a_heading_and_the_defaults_of_each_preset(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "the network: --width WIDTH 100 % of the paper's (default: 1.0; 0.5 when small) --order" in text
    assert "--devices DEVICES that share it (default: --groups)" in text
    assert "-b BATCH_SIZE, --batch-size BATCH_SIZE images of a step (default: 4)" in text
