"""The loop, evaluation, checkpoints and the log; settings and the Run, the frame of a job."""

from tinynet.errors import NonFiniteError
from tinynet.interruption import Stopped, StopSignals, lasting_output
from tinynet.training.checkpoint import Checkpoint, Checkpoints, best_checkpoint, find_checkpoint, load_checkpoint
from tinynet.training.evaluation import Evaluation, Predictions, evaluate, evaluate_networks, predict
from tinynet.training.folder import RunFolder
from tinynet.training.log import TensorBoard, append_json_line, parameter_sizes, read_log
from tinynet.training.loop import Epoch, EpochState, train_epoch
from tinynet.training.metrics import ClassErrors, ranks, write_class_table
from tinynet.training.options import parse_options
from tinynet.training.presets import Fitted
from tinynet.training.progress import Counter, Progress, duration
from tinynet.training.report import report_errors
from tinynet.training.run import Run
from tinynet.training.settings import RunSettings, setting
from tinynet.training.trained import Trained, load_trained
from tinynet.training.transfer import cache_features, freeze, last_layer, sized, starting_point, take_weights

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "ClassErrors",
    "Counter",
    "Epoch",
    "EpochState",
    "Evaluation",
    "Fitted",
    "NonFiniteError",
    "Predictions",
    "Progress",
    "Run",
    "RunFolder",
    "RunSettings",
    "StopSignals",
    "Stopped",
    "TensorBoard",
    "Trained",
    "append_json_line",
    "best_checkpoint",
    "cache_features",
    "duration",
    "evaluate",
    "evaluate_networks",
    "find_checkpoint",
    "freeze",
    "last_layer",
    "lasting_output",
    "load_checkpoint",
    "load_trained",
    "parameter_sizes",
    "parse_options",
    "predict",
    "ranks",
    "read_log",
    "report_errors",
    "setting",
    "sized",
    "starting_point",
    "take_weights",
    "train_epoch",
    "write_class_table",
]
