"""Settings: what is typed goes before what a checkpoint keeps, and that before the preset; bounds, types and help."""

import argparse
from dataclasses import asdict, dataclass, replace
from typing import Optional

import pytest

from tinynet import CheckpointError
from tinynet.training import RunSettings, setting
from tinynet.training.options import add_options
from tinynet.training.settings import check_kept, settled, typed_settings


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
    found = settled(PRESET, {"epochs": 6}, kept)
    assert (found.width, found.epochs, found.crop, found.resize) == (0.25, 6, 7, 8)
    assert settled(PRESET, {}).epochs == 9 and settled(SMALL, {}).epochs == 2
    with pytest.raises(ValueError, match=r"^--width 0\.5: the checkpoint was made with 0\.25; --override takes it all"):
        settled(PRESET, {"width": 0.5}, kept)
    assert settled(PRESET, {"width": 0.25}, kept).width == 0.25
    assert settled(PRESET, {"width": 0.5}, kept, override=True).width == 0.5
    assert settled(PRESET, {"width": 0.5}).width == 0.5


def test_a_setting_like_another_follows_it_and_what_was_kept_stays():
    assert settled(PRESET, {}).devices == 2
    assert settled(PRESET, {"groups": 3}).devices == 3
    assert settled(PRESET, {"devices": 1}).devices == 1
    assert settled(PRESET, {"groups": 1}, asdict(settled(PRESET, {})), override=True).devices == 2


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
        ({"max_bad": 1.5}, "--max-bad 1.5: expected 1 or less"),
        ({"checkpoint_minutes": 0.0}, "--checkpoint-minutes 0.0: expected more than 0"),
        ({"checkpoint_steps": 0}, "--checkpoint-steps 0: expected 1 or more"),
        ({"keep": 0}, "--keep 0: expected 1 or more"),
        ({"measure_images": 0}, "--measure-images 0: expected 1 or more"),
    ],
)
def test_values_that_cannot_be_are_named_by_their_options(change, message):
    for make in (lambda: replace(PRESET, **change), lambda: settled(PRESET, change)):
        with pytest.raises(ValueError) as caught:
            make()
        assert str(caught.value) == message


def test_what_a_checkpoint_keeps_is_of_the_right_type_and_known():
    def check(kept: dict) -> None:
        check_kept(kept, Settings, (), "step-1")

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


    with pytest.raises(CheckpointError, match="step-1: its settings: epochs cannot be 0, expected 1 or more"):
        check({"epochs": 0})
    check_kept({"epochs": 0}, Settings, {"epochs"}, "step-1")  # which was typed, and so does not count


@dataclass(frozen=True, kw_only=True)
class Plain(Settings):
    momentum: float = 0.9
    decay: Optional[float] = None  # noqa: UP045


@dataclass(frozen=True, kw_only=True)
class Wrong(Settings):
    sizes: list | None = None


def test_plain_fields_are_settings_and_other_types_are_told():
    preset = Plain(resize=8, crop=6, batch_size=4, epochs=9)
    parser = argparse.ArgumentParser()
    add_options(parser, {"always": preset})
    typed = typed_settings(parser.parse_args(["--momentum", "0.5", "--decay", "0.1"]), Plain)
    assert settled(preset, typed).momentum == 0.5 and settled(preset, typed).decay == 0.1
    with pytest.raises(TypeError, match=r"Wrong\.sizes: expected int, float, str or bool, one of them"):
        add_options(argparse.ArgumentParser(), {"always": Wrong(resize=8, crop=6, batch_size=4, epochs=9)})


def test_help_has_a_heading_and_the_defaults_of_each_preset(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "the network: --width WIDTH 100 % of the paper's (default: 1.0; 0.5 when small) --order" in text
    assert "--devices DEVICES that share it (default: --groups)" in text
    assert "-b BATCH_SIZE, --batch-size BATCH_SIZE images of a step (default: 4)" in text
