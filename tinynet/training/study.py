"""A study: several runs in one folder, each trained once, whose results are compared. How a net is trained is the
page's business, and what is made of the results, too.
"""

import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinynet import backend
from tinynet.errors import CheckpointError
from tinynet.files import parse_json, read_json, remove, shown, write_text
from tinynet.threads import processor_name, usable_cores
from tinynet.training.progress import duration
from tinynet.training.settings import RunSettings

TRIAL, RESULT = "trial.json", "result.json"  # in its run's folder, of a trial that has begun and of one that is done


@dataclass(frozen=True)
class Trial:
    """A net to be trained once: what it is a case of, the model with its arguments as models.build takes them, and the
    settings of its run.
    """

    variant: str
    model: str
    settings: Any  # a RunSettings of the page's own
    network: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its folder: "no-lrn-seed0"."""
        return f"{re.sub(r'[^a-z0-9.]+', '-', self.variant.lower()).strip('-')}-seed{self.settings.seed}"

    def record(self) -> dict[str, Any]:
        """What makes it this trial and no other, as JSON has it."""
        settings: RunSettings = self.settings
        free = {one.name for one in dataclasses.fields(settings) if one.metadata["free"]} - {"epochs"}
        told = {name: value for name, value in dataclasses.asdict(settings).items() if name not in free}
        record = {"variant": self.variant, "seed": settings.seed, "model": self.model, "network": self.network}
        return parse_json(json.dumps(record | {"settings": told}))


class Study:
    """The trials of a folder. Those that are done are not trained again; one that was cut off goes on.

    train(trial, folder of its run) trains one, and gives what there is to say of it, as JSON can hold it, with the
    fingerprint of the images as "data_set". seeds: those that the user wants of every variant. epochs: of every trial,
    instead of its own. only: words; a trial is trained when one of them is in its name, or there are none. data: where
    the images are. FileExistsError, unless `resume`, for a folder that is not empty.
    """

    def __init__(
        self, name: str, folder: Path, train: Callable[[Trial, Path], dict], seeds: Sequence[int] = (0,),
        epochs: int | None = None, only: Sequence[str] = (), resume: bool = False, data: str = "",
    ):  # fmt: skip
        self.name, self.folder, self.seeds, self.data = name, folder, seeds, data
        self._train, self._epochs, self._only = train, epochs, [word.lower() for word in only]
        if not resume and folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(f"{shown(folder)}: holds results: --resume goes on, --output-dir takes another")

    def results(self, trials: Iterable[Trial]) -> list[dict]:
        """What is said of each, in order, with its record; also kept as JSON lines in results.jsonl. Left out are those
        that are not done, since `only` leaves them out.

        CheckpointError where a trial of the same name was begun with other settings, or was trained on other images.
        ValueError for a word of `only` that is in no name.
        """
        trials = [self._lasting(trial) for trial in trials]
        for word in self._only:
            if not any(word in trial.name for trial in trials):
                raise ValueError(f"--only {word}: expected words of {', '.join(trial.name for trial in trials)}")
        done = self._done(trials)
        left = [trial for trial in trials if self._asked(trial) and trial.name not in done]
        began = time.perf_counter()
        print(f"{self.name}: {len(trials)} trials, {len(done)} done, {len(left)} to train in {shown(self.folder)}")
        for number, trial in enumerate(left):
            rest = (time.perf_counter() - began) / max(1, number) * (len(left) - number)
            time_left = f", {duration(rest)} left" if number else ""
            print(f"\n{trial.name}: {number + 1} of {len(left)}{time_left}", flush=True)
            folder, record = self.folder / trial.name, trial.record()
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / TRIAL, json.dumps(record))
            result = {"study": self.name} | record | self._train(trial, folder) | {"machine": machine()}
            done[trial.name] = result
            self._check_images(done.values())
            write_text(folder / RESULT, json.dumps(result))
            remove(folder / "checkpoints")  # the final weights stay
        results = list(self._done(trials).values())  # as they were written, and those of a process beside this one
        self._check_images(results)
        write_text(self.folder / "results.jsonl", "".join(f"{json.dumps(result)}\n" for result in results))
        return results

    def _done(self, trials: Iterable[Trial]) -> dict[str, dict]:
        """The results of those that are done, by the trial's name, in order."""
        return {trial.name: result for trial in trials if (result := self._result(trial)) is not None}

    def _check_images(self, results: Iterable[dict]) -> None:
        if len({result["data_set"] for result in results}) > 1:
            raise CheckpointError(f"{shown(self.folder)}: some of its trials saw other images: take another folder")

    def table(self, title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Prints a table in Markdown, and writes it: table.md."""
        lines = [title, "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
        lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
        print("", *lines, sep="\n")
        write_text(self.folder / "table.md", "\n".join(lines) + "\n")

    @property
    def figure(self) -> Path:
        return self.folder / "figure.png"

    def _lasting(self, trial: Trial) -> Trial:
        if self._epochs is None:
            return trial
        return dataclasses.replace(trial, settings=dataclasses.replace(trial.settings, epochs=self._epochs))

    def _asked(self, trial: Trial) -> bool:
        return not self._only or any(word in trial.name for word in self._only)

    def _result(self, trial: Trial) -> dict | None:
        """None where there is none yet. CheckpointError where what was begun is of other settings."""
        folder, expected = self.folder / trial.name, trial.record()
        for path in (folder / TRIAL, folder / RESULT):
            found = read_json(path) if path.exists() else expected
            if not isinstance(found, dict) or {name: found.get(name) for name in expected} != expected:
                raise CheckpointError(f"{shown(path)}: is of other settings: --output-dir names another folder")
        return read_json(folder / RESULT) if (folder / RESULT).exists() else None


def machine() -> str:
    """What computes: "NumPy 2.3.1 on AMD EPYC, 2 cores"."""
    if backend.on_gpu:
        device = backend.xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        return f"CuPy {backend.xp.__version__} on {device}"
    return f"NumPy {np.__version__} on {processor_name()}, {usable_cores()} cores"
