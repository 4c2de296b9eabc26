"""The loop, evaluation, checkpoints and the log."""

from tinynet.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.training.evaluation import Evaluation, Predictions, evaluate, evaluate_networks, predict
from tinynet.training.log import TensorBoard, append_json_line, parameter_sizes, read_log
from tinynet.training.loop import EpochState, NonFiniteLossError, train_epoch
from tinynet.training.metrics import ClassErrors, write_class_table
from tinynet.training.progress import Counter, Progress, duration
from tinynet.training.trained import Trained, load_trained

__all__ = [
    "Checkpoint",
    "ClassErrors",
    "Counter",
    "EpochState",
    "Evaluation",
    "NonFiniteLossError",
    "Predictions",
    "Progress",
    "TensorBoard",
    "Trained",
    "append_json_line",
    "duration",
    "evaluate",
    "evaluate_networks",
    "load_checkpoint",
    "load_trained",
    "parameter_sizes",
    "predict",
    "read_log",
    "save_checkpoint",
    "train_epoch",
    "write_class_table",
]
