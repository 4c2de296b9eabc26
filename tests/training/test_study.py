"""A study keeps what is done, goes on with what is not, and mixes nothing."""

import json
from dataclasses import dataclass, replace

import pytest

from tinynet.errors import CheckpointError
from tinynet.training import RunSettings, setting
from tinynet.training.study import Study, Trial, machine


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    lr: float = setting(0.1)


BASE = Settings(resize=8, crop=8, batch_size=4, epochs=3)


def trials(seeds=(0, 1), lr=0.1, steps=2):
    return [Trial(name, "lenet", replace(BASE, seed=seed, lr=lr), {"num_classes": steps})
            for seed in seeds for name in ("Whole net", "no LRN, 2/2")]  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """study(**options) -> a Study whose trials are noted in study.trained."""

    def make(images="abc", fail_at=None, **options):
        def train(trial, folder):
            if trial.name == fail_at:
                raise KeyboardInterrupt
            made.trained.append(trial.name)
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            return {"data_set": images, "epochs": trial.settings.epochs, "error": float(len(made.trained))}

        made = Study("figure0", tmp_path / "out", train, **options)
        made.trained = []
        return made

    return make


def test_each_is_trained_once_and_kept(study, tmp_path):
    first = study()
    results = first.results(trials())
    names = ["whole-net-seed0", "no-lrn-2-2-seed0", "whole-net-seed1", "no-lrn-2-2-seed1"]
    assert first.trained == names
    assert [(result["variant"], result["seed"], result["error"]) for result in results] == [
        ("Whole net", 0, 1.0), ("no LRN, 2/2", 0, 2.0), ("Whole net", 1, 3.0), ("no LRN, 2/2", 1, 4.0),
    ]  # fmt: skip
    assert all(result["study"] == "figure0" and result["settings"]["lr"] == 0.1 for result in results)
    assert {result["machine"] for result in results} == {machine()}
    lines = (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == results
    assert not list((tmp_path / "out").glob("*/checkpoints"))
    again = study(resume=True)
    assert again.results(trials()) == results and again.trained == []
    with pytest.raises(FileExistsError, match="--resume goes on"):
        study()


def test_what_was_cut_off_goes_on(study):
    with pytest.raises(KeyboardInterrupt):
        study(fail_at="whole-net-seed1").results(trials())
    rest = study(resume=True)
    results = rest.results(trials())
    assert rest.trained == ["whole-net-seed1", "no-lrn-2-2-seed1"] and len(results) == 4


def test_some_of_them(study):
    some = study(only=["lrn", "net-seed1"], epochs=1)
    results = some.results(trials())
    assert some.trained == ["no-lrn-2-2-seed0", "whole-net-seed1", "no-lrn-2-2-seed1"]
    assert [result["epochs"] for result in results] == [1, 1, 1]
    with pytest.raises(ValueError, match="--only nothing: expected words of whole-net-seed0, no-lrn"):
        study(only=["LRN", "nothing"], resume=True).results(trials())
    assert study(only=["LRN"], epochs=1, resume=True).results(trials()) == results


@pytest.mark.parametrize("other", [{"lr": 0.2}, {"steps": 3}])
def test_results_of_other_settings_are_not_taken(study, other):
    study().results(trials())
    with pytest.raises(CheckpointError, match=r"trial.json: is of other settings"):
        study(resume=True).results(trials(**other))
    with pytest.raises(CheckpointError, match="other settings"):
        study(resume=True, epochs=2).results(trials())


@pytest.mark.parametrize("other", [{"lr": 0.2}, {"steps": 3}])
def test_what_was_begun_with_other_settings_does_not_go_on(study, other):
    """Else a checkpoint's settings would count, and the result be filed under the new ones."""
    with pytest.raises(KeyboardInterrupt):
        study(fail_at="whole-net-seed0").results(trials())
    again = study(resume=True)
    with pytest.raises(CheckpointError, match=r"whole-net-seed0.trial.json: is of other settings"):
        again.results(trials(**other))
    with pytest.raises(CheckpointError, match="other settings"):
        study(resume=True, epochs=2).results(trials())
    assert again.trained == [] and len(again.results(trials())) == 4


def test_results_on_other_images_are_not_mixed(study):
    study(only=["seed0"]).results(trials())
    other = study(images="other", resume=True)
    with pytest.raises(CheckpointError, match="saw other images"):
        other.results(trials())
    assert other.trained == ["whole-net-seed1"]  # no more than one in vain
    assert len(study(resume=True).results(trials())) == 4


def test_a_damaged_result_is_named(study, tmp_path):
    study().results(trials())
    for text in ("[1, 2]", "{}", "null"):
        (tmp_path / "out" / "whole-net-seed0" / "result.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"whole-net-seed0.result.json"):
            study(resume=True).results(trials())


def test_a_table(study, tmp_path, capsys):
    one = study()
    one.results(trials())
    one.table("Errors", ("net", "error (%)"), [("whole", 1.5), ("no LRN", "2.0 ± 0.1")])
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert text == "Errors\n\n| net | error (%) |\n| --- | --- |\n| whole | 1.5 |\n| no LRN | 2.0 ± 0.1 |\n"
    assert text in capsys.readouterr().out
