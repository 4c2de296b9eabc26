"""The log: what a kill and a resumed run leave of it, the sizes of parameters, and TensorBoard's curves."""

import json
import os
import sys

import numpy as np
import pytest
from inputs import normal
from odd_files import NO_FILES

from tinynet import SGD, models, parallel
from tinynet.backend import to_device
from tinynet.training import TensorBoard, append_json_line, parameter_sizes, read_log
from tinynet.weights import whole_parameters

RESULT = {"loss": 1.5, "top1_error": 50.0, "top5_error": 0.0}


def epoch_record(step: int, **more) -> dict:
    return {"event": "epoch", "epoch": 1, "step": step, "lr": 0.01, "train": RESULT, "validation": RESULT} | more


def test_a_torn_line_costs_itself_only(tmp_path):
    log = tmp_path / "log.jsonl"
    append_json_line(log, {"event": "start"})
    with open(log, "a") as file:
        file.write('{"event": "epoch", "st')  # killed here
    assert read_log(log) == [{"event": "start"}]
    append_json_line(log, epoch_record(5, name="Käfer"))
    append_json_line(log, epoch_record(10))
    assert [record.get("step") for record in read_log(log)] == [None, 5, 10]
    assert read_log(log)[1]["name"] == "Käfer"
    assert log.read_bytes().count(b"\n") == 4


def test_a_log_torn_inside_a_character_or_filled_with_zeros_is_read(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 1}\n\x00\x00\x00\n[1]\n7\n{"name": "\xc3')
    assert read_log(log) == [{"step": 1}]
    log.write_bytes(b"")
    assert read_log(log) == []
    append_json_line(log, {"step": 1})
    assert log.read_text() == '{"step": 1}\n'


def test_what_a_resumed_run_did_again_is_void(tmp_path):
    log = tmp_path / "log.jsonl"
    for record in (
        {"event": "start"},
        epoch_record(10, run=1),
        epoch_record(20, run=1),
        {"event": "bad_image", "step": 25, "run": 1},
        {"event": "resume", "step": 10},
        epoch_record(20, run=2),
        epoch_record(30, run=2),
        {"event": "resume", "step": 20},
        epoch_record(30, run=3),
        {"event": "resume", "step": 30},
        epoch_record(30, run=4),
    ):
        append_json_line(log, record)
    epochs = [(record["step"], record["run"]) for record in read_log(log) if record.get("event") == "epoch"]
    assert epochs == [(10, 1), (20, 2), (30, 4)]
    assert not any(record["event"] == "bad_image" for record in read_log(log))


@pytest.mark.parametrize(
    "line",
    [
        {"event": ["epoch"]},
        {"event": "resume", "step": "10"},
        {"event": "resume", "step": True},
        {"event": "resume", "step": 1e400},
        {"event": "test", "step": 10**400},
        {"event": "epoch", "step": 10},
        epoch_record(10, epoch="1"),
        epoch_record(10, lr=None),
        epoch_record(10, lr=10**400),
        epoch_record(10, lr=float("nan")),
        epoch_record(10, train=[]),
        epoch_record(10, validation={"loss": 1.0}),
        epoch_record(10, validation=RESULT | {"top1_error": "50"}),
        epoch_record(10, validation=RESULT | {"top5_error": [0]}),
        "[" * 5000,
        '{"a":' * 5000,
        "9" * 5000,
    ],
)
def test_a_line_that_no_run_has_written_costs_itself_only(tmp_path, line):
    log = tmp_path / "log.jsonl"
    append_json_line(log, epoch_record(20))
    with open(log, "a") as file:
        file.write(line if isinstance(line, str) else json.dumps(line))
    append_json_line(log, epoch_record(30))
    assert [record["step"] for record in read_log(log)] == [20, 30]


def test_what_a_log_costs_grows_with_its_lines_alone(tmp_path):
    """Not with their square, when every record asks which before it are void. Counted are function calls."""

    def calls(lines: int) -> int:
        log, count = tmp_path / f"{lines}.jsonl", 0
        records = [epoch_record(step) for step in range(lines)] + [{"event": "resume", "step": lines}] * lines
        log.write_text("".join(json.dumps(record) + "\n" for record in records))

        def counted(frame, event, argument) -> None:
            nonlocal count
            count += 1

        sys.setprofile(counted)
        try:
            found = read_log(log)
        finally:
            sys.setprofile(None)
        assert len(found) == 2 * lines
        return count

    assert calls(400) < 2.2 * calls(200)


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_no_log(tmp_path, make):
    make(tmp_path / "log.jsonl")
    with pytest.raises(OSError, match="expected a file, found a"):
        read_log(tmp_path / "log.jsonl")
    with pytest.raises(OSError, match="expected a file, found a"):
        append_json_line(tmp_path / "log.jsonl", {})


def test_what_a_link_leads_to_is_not_added_to(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "log.jsonl").symlink_to(tmp_path / "victim")
    (tmp_path / "other.jsonl").symlink_to(tmp_path / "new")  # which is not there yet
    for name in ("log.jsonl", "other.jsonl"):
        with pytest.raises(OSError, match=rf"(found a link|No such file or directory): .*{name}"):
            append_json_line(tmp_path / name, {})
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "new").exists()


def moved(net) -> SGD:
    """The net's optimizer after a step; parameters that are the same whole are the same in towers, so are updates."""
    optimizer = SGD(net, 0.1)
    whole = {name: normal(index, *array.shape) for index, (name, array) in enumerate(whole_parameters(net).items())}
    for name, part in net.split(whole).items():
        optimizer.velocity[name][...] = to_device(part.astype(np.float32))
    return optimizer


def test_sizes_are_means_of_absolute_values_also_over_chunks(monkeypatch):
    net = models.alexnet(3, width=0.05, input_size=67, initialization="he")
    optimizer = moved(net)
    monkeypatch.setattr("tinynet.training.log.CHUNK", 100)
    sizes = parameter_sizes(net, optimizer)
    parameters = whole_parameters(net)
    assert sizes.keys() == parameters.keys()
    weight, update = parameters["conv2.weight"], optimizer.velocity["conv2.weight"]
    weight_size, update_size = np.abs(weight).mean(dtype=float), float(abs(update).mean(dtype=float))
    assert sizes["conv2.weight"]["weight"] == pytest.approx(weight_size)
    assert sizes["conv2.weight"]["update"] == pytest.approx(update_size)
    assert sizes["conv2.weight"]["ratio"] == pytest.approx(update_size / weight_size)
    assert sizes["conv2.bias"]["weight"] == 0 and sizes["conv2.bias"]["ratio"] is None


def test_towers_report_the_whole_networks_sizes():
    net = models.alexnet(3, width=0.05, input_size=67, initialization="he")
    towers = parallel.partition(net, 2)
    whole, parts = parameter_sizes(net, moved(net)), parameter_sizes(towers, moved(towers))
    assert whole.keys() == parts.keys()
    for name, sizes in whole.items():
        assert parts[name] == pytest.approx(sizes), name


def test_sizes_are_json_whatever_the_weights():
    net = models.alexnet(3, width=0.05, input_size=67)
    net["fc8"].params["weight"][...] = np.nan
    sizes = parameter_sizes(net, SGD(net, 0.1))
    assert sizes["fc8.weight"] == {"weight": None, "update": 0.0, "ratio": None}
    json.dumps(sizes, allow_nan=False)


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads in a folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    events = accumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def record(step: int, loss: float) -> dict:
    sizes = {"fc8.bias": {"weight": 0.5, "update": 0.25, "ratio": None}}
    numbers = {"event": "epoch", "epoch": 1, "step": step, "lr": 0.01, "train": {"loss": loss}, "parameters": sizes}
    return numbers | {"finished": True}


def test_tensorboard_reads_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoard(tmp_path / "curves") as board:
        board.add(record(10, 2.5))
        board.flush()
        assert scalars(tmp_path / "curves")["lr"] == [(10, pytest.approx(0.01))]
        board.add(record(20, 1.5))
    read = scalars(tmp_path / "curves")
    assert set(read) == {"lr", "train/loss", "parameters/fc8.bias/weight", "parameters/fc8.bias/update"}
    assert read["train/loss"] == [(10, 2.5), (20, 1.5)]


def test_tensorboard_forgets_what_a_resumed_run_does_again(tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoard(tmp_path) as board:
        for step in (10, 20, 30):
            board.add(record(step, 1.0))
    with TensorBoard(tmp_path, resumed_at=20) as board:
        board.add(record(30, 2.0))
    assert scalars(tmp_path)["train/loss"] == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_folder_that_tensorboard_cannot_name_is_refused(tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(ValueError, match=r"/r\\xfcn: TensorBoard takes no folder whose name is not UTF-8"):
        TensorBoard(tmp_path / os.fsdecode(b"r\xfcn"))


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(ImportError, match=r"pip install 'tinynet\[tensorboard\]'"):
        TensorBoard(tmp_path)
