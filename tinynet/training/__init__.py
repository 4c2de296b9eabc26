"""The loop, evaluation, checkpoints and the log."""

from tinynet.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.training.evaluation import evaluate
from tinynet.training.loop import EpochState, NonFiniteLossError, train_epoch
from tinynet.training.progress import Counter, Progress, append_json_line, duration

__all__ = [
    "Checkpoint",
    "Counter",
    "EpochState",
    "NonFiniteLossError",
    "Progress",
    "append_json_line",
    "duration",
    "evaluate",
    "load_checkpoint",
    "save_checkpoint",
    "train_epoch",
]
