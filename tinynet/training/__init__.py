"""The loop, evaluation, checkpoints and the log."""

from tinynet.training.checkpoint import Checkpoint, Checkpoints, find_checkpoint, load_checkpoint
from tinynet.training.evaluation import Evaluation, Predictions, evaluate, evaluate_networks, predict
from tinynet.training.interruption import Stopped, StopSignals, lasting_output
from tinynet.training.log import TensorBoard, append_json_line, parameter_sizes, read_log
from tinynet.training.loop import EpochState, NonFiniteError, train_epoch
from tinynet.training.metrics import ClassErrors, write_class_table
from tinynet.training.progress import Counter, Progress, duration
from tinynet.training.run import Run
from tinynet.training.trained import Trained, load_trained

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "ClassErrors",
    "Counter",
    "EpochState",
    "Evaluation",
    "NonFiniteError",
    "Predictions",
    "Progress",
    "Run",
    "StopSignals",
    "Stopped",
    "TensorBoard",
    "Trained",
    "append_json_line",
    "duration",
    "evaluate",
    "evaluate_networks",
    "find_checkpoint",
    "lasting_output",
    "load_checkpoint",
    "load_trained",
    "parameter_sizes",
    "predict",
    "read_log",
    "train_epoch",
    "write_class_table",
]
