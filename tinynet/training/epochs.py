"""An epoch of a run: what is done after each of its batches, and at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinynet.errors import NonFiniteError
from tinynet.training.log import parameter_sizes
from tinynet.training.loop import INPUT_NOT_FINITE, Epoch, EpochState
from tinynet.training.progress import Progress
from tinynet.training.report import epoch_line, stands_still
from tinynet.training.sharing import agreed

if TYPE_CHECKING:
    from tinynet.training.run import Run


class RunEpoch(Epoch):
    """What `Run.epochs` yields: train_epoch and evaluate take it, and `end` takes their results.

    Validation is of the run's images.val. After each batch it shows how far the pass is, saves a checkpoint when one is
    due (in training) or asked for, and leaves when a signal has come.
    """

    def __init__(self, run: Run, number: int, last: int, state: EpochState | None):
        super().__init__(number, state)
        self.title, self.ended = f"epoch {number + 1:2}/{last}", False
        self._run, self._last = run, last
        self._shown = self.state  # the pass that the bar is of
        self._bar: Progress | None = None
        if self.state.batches < len(run.images.train):  # else it was interrupted in its validation
            self._bar = self._open_bar()

    def _open_bar(self) -> Progress:
        train, val, classes = self._run.images.train, self._run.images.val, len(self._run.data.classes)
        if self._shown is self.state:
            return Progress(self.title, len(train), epochs_after=self._last - self.number - 1, classes=classes)
        return Progress(f"{self.title} validation", len(val), classes=classes)

    def __call__(self, state: EpochState) -> None:
        run, training = self._run, state is self.state
        if state is not self._shown:
            self.close()
            self._shown, self._bar = state, None
        if self._bar is None:
            self._bar = self._open_bar()
        self._bar.lr = run.optimizer.lr if training else None
        self._bar(state)
        asked, due = agreed(run.mesh, run.stop, training and run.folder.due())
        if asked or due:
            run.save(self.number, self.state)
        if asked:
            run.leave()

    def end(self, trained: EpochState, tested: EpochState) -> None:
        """A line, a record in the log and a checkpoint; then it leaves, if a signal has come."""
        if self.ended:
            raise RuntimeError(f"{self.title}: it has been ended before")
        self.close()
        self.ended, run = True, self._run
        images, lr = run.images, run.optimizer.lr
        print(epoch_line(self.title, lr, trained, tested, len(run.data.classes)), flush=True)
        losses = [*(before["train"]["loss"] for before in run.history), trained.loss]
        steps = run.first_step + len(images.train)
        if note := stands_still(losses, steps, run.data.label_entropy, run.settings):
            print(note, flush=True)
        run.first_step += len(images.train)
        record = {"epoch": self.number + 1, "step": run.first_step, "lr": lr, "train": trained.record()}
        record |= {"validation": tested.record(), "left_out": sum(map(len, images.left_out.values()))}
        record |= {"images_per_second": trained.images_per_second, "waiting_share": trained.waiting_share}
        run.history.append(record)
        run.folder.log("epoch", **record, parameters=parameter_sizes(run.net, run.optimizer))
        asked, _ = agreed(run.mesh, run.stop)
        run.save(self.number + 1)
        if asked:
            run.leave()

    def close(self) -> None:
        """Takes the bar away; it goes by itself at the end of a pass."""
        if self._bar is not None:
            self._bar.close()

    def explained(self, error: NonFiniteError) -> NonFiniteError:
        """The error with its place, where evaluation, which knows of none, has raised it, and with a rate to try."""
        place, rate = "", ""
        if self.state.ended is not None and not self.ended:
            step, lr = self._run.first_step + len(self._run.images.train) - 1, self._run.optimizer.lr
            place = f"after step {step} (epoch {self.number + 1}, learning rate {lr:g}): "
        if self._run.lower_lr is not None and INPUT_NOT_FINITE not in str(error):
            rate = f" Try --lr {self._run.lower_lr:g}."
        return NonFiniteError(f"{place}{error}{rate}") if place or rate else error
