"""Where a run's images come from: what the user typed, where the run that goes on found them, or drawn ones."""

import argparse
import sys
from pathlib import Path

from tinynet.data import Dataset, open_dataset
from tinynet.data.sets.synthetic import drawn_folder, make_dataset
from tinynet.errors import DataError
from tinynet.files import shown
from tinynet.parallel import Mesh
from tinynet.training.checkpoint import Checkpoint
from tinynet.training.progress import Counter
from tinynet.training.settings import early
from tinynet.training.sharing import in_turn


def open_images(
    typed: argparse.Namespace, data_path: str | None, checkpoint: Checkpoint | None, mesh: Mesh | None
) -> tuple[Dataset, bool]:
    """The data set at data_path, or the drawn one; whether it is that. DataError where there is none."""
    if checkpoint and not checkpoint.settings["drawn"] and not data_path:
        raise DataError(f"{shown(checkpoint.path)}: the run's images lay in memory; say with --data what to take")
    if data_path and not typed.data and not Path(data_path).exists():
        where = "the run's images were there; say with --data where they are"
        raise DataError(f"{shown(data_path)}: {where}")
    path = Path(data_path or drawn_folder())
    if not data_path:
        print(f"No --data given: using a SYNTHETIC data set, drawn by this program, in {shown(path)}", flush=True)
        in_turn(mesh, lambda: make_dataset(path, progress=Counter("drawing")))
    kept, source = (checkpoint.settings, shown(checkpoint.path)) if checkpoint else (None, "")
    share, channels = (early(name, typed, kept, source) for name in ("val_share", "channels"))
    asked = hasattr(typed, "val_share")  # else it is the checkpoint's, and counts where there is nothing else
    return open_dataset(path, Counter("listing"), share, channels, asked=asked), not data_path


def tell_of_images(data: Dataset, mesh: Mesh | None) -> None:
    """What a user should know of a data set. MismatchError on a rank whose images are not those of rank 0."""
    only = f"{shown(data.root)}: only one class, {shown(data.classes[0])}, so there is nothing to tell apart"
    if mesh is None or mesh.leads:
        for note in (*data.notes, *[only] * (len(data.classes) == 1)):
            print(f"warning: {note}", file=sys.stderr)
    train, val = len(data.train), len(data.val)
    print(f"{shown(data.root)}: {len(data.classes)} classes, {train:,} training and {val:,} validation images")
    if mesh:
        about = {"classes": len(data.classes), "training images": train, "validation images": val}
        mesh.agree(f"images in {data.root}", about | {"fingerprint": data.fingerprint})
