"""Tries what the AlexNet paper says of its parts, on pictures that fit a laptop.

    python examples/paper_experiments.py figure1 --data /path/to/cifar10          ReLU against tanh (section 3.1)
    python examples/paper_experiments.py cifar10-quick --data /path/to/cifar10    Caffe's nets for CIFAR-10, and full
    python examples/paper_experiments.py cifar10-full --data /path/to/cifar10     without LRN (3.3) or overlap (3.4)
    python examples/paper_experiments.py ingredients --data /path/to/photos       each part left out (3.2, 3.3, 4 to 6)
    python examples/paper_experiments.py towers --data /path/to/photos            conv1's kernels (6.1, figure 3)

CIFAR-10: its binary version, or folders train/CLASS and test/CLASS. Photos: folders of classes, or what `python -m
tinynet prepare` made of them, at --size 112 for ingredients, 148 for towers. Each trains many nets, one after another,
for hours, and leaves results.jsonl, table.md and figure.png in its folder. Ctrl-C saves and leaves; --resume goes on.
examples/README.md shows what came out.
"""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tinynet import SGD, MultiStepSchedule, SoftmaxCrossEntropy, console
from tinynet.data import Loader
from tinynet.inspection import comparisons
from tinynet.inspection.comparisons import Line, Spread, variants
from tinynet.inspection.plots import check_matplotlib
from tinynet.models.cifar10 import DECAY_MULTIPLIERS, LR_MULTIPLIERS
from tinynet.training import (
    NonFiniteError,
    Run,
    RunSettings,
    duration,
    evaluate,
    evaluate_networks,
    load_trained,
    parse_options,
    setting,
    train_epoch,
)
from tinynet.training.study import Study, Trial


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    keep: int = setting(1, free=True)
    lr: float = setting(0.001)
    weight_decay: float = setting(0.004)
    lr_milestones: tuple[float, ...] = setting(())  # shares of the epochs after which the rate is divided by 10
    colour_noise: float = setting(0.0)  # section 4.1
    offsets: bool = setting(False)  # random crops, else the middle ones
    mirror: bool = setting(False)
    unit_pixels: bool = setting(False)  # of deviation 1, else 0 to 255
    until: float = setting(0.0)  # the training error, in percent, below which a net has shown what was asked


QUICK = Settings(resize=32, crop=32, batch_size=100, epochs=10, lr_milestones=(0.8,))
FULL = replace(QUICK, epochs=140, lr_milestones=(6 / 7, 13 / 14))
FIGURE1 = replace(FULL, epochs=60, lr_milestones=(), weight_decay=0.0, until=20.0)  # no regularisation of any kind
PHOTOS = Settings(resize=112, crop=99, batch_size=64, epochs=30, lr=0.01, lr_milestones=(2 / 3, 0.9))
PHOTOS = replace(PHOTOS, weight_decay=0.0005, colour_noise=0.1, offsets=True, mirror=True, unit_pixels=True)
TOWERS = replace(PHOTOS, resize=148, crop=131, batch_size=128, epochs=20, lr_milestones=(0.8,))


# ---- one net ----


def train(args: argparse.Namespace, trial: Trial, folder: Path) -> dict:
    """Trains a trial's net as the other pages do, and says how: errors in percent, epoch by epoch, and at the end."""
    words = ["--data", args.data, "--output-dir", str(folder), "--resume", "--workers", str(args.workers)]
    with Run.open(parse_options(None, {"": trial.settings}, words), "paper_experiments") as run:
        s, data = run.settle(trial.settings), run.open_data()
        sizes = {"num_classes": len(data.classes), "in_channels": data.channels, "input_size": s.crop}
        net = run.build(trial.model, **sizes, seed=s.seed, **trial.network)
        multipliers = LR_MULTIPLIERS.get(trial.model), DECAY_MULTIPLIERS.get(trial.model)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr, 0.9, s.weight_decay, *multipliers)
        schedule = MultiStepSchedule(sorted({max(1, round(share * s.epochs)) for share in s.lr_milestones}))
        run.begin(net, optimizer)
        random = {"colour": s.colour_noise, "mirror": s.mirror, "offsets": s.offsets}
        images = run.batches(scale=None if s.unit_pixels else 1.0, augment=any(random.values()), **random)
        result = {"run": folder.name, "data": data.root.name, "data_set": data.fingerprint, "images": len(data.train)}
        result["chance"] = data.chance_error
        seen = Loader(data.train, s.batch_size, s.resize, s.crop, "middle", workers=args.workers)
        tests = {"train_error": seen, "error": images.val} | ({"ten_error": images.ten} if s.crop < s.resize else {})

        def learned() -> bool:
            return any(record["train"]["top1_error"] < s.until for record in run.history)

        try:
            for epoch in run.epochs(len(run.history) if learned() else s.epochs):
                optimizer.lr = schedule(s.lr, run.errors)
                trained = train_epoch(net, loss, optimizer, images.train, images.prepare, epoch)
                epoch.end(trained, evaluate(net, images.val, images.prepare, epoch))
                if learned():
                    break
            for name, loader in tests.items():
                result[name] = evaluate(net, loader, images.prepare, run.watch(loader)).top1_error
        except NonFiniteError as error:
            print(f"{error} It counts as a net that guesses.")
            result |= dict.fromkeys(tests, data.chance_error) | {"diverged": True}
        run.finish()
        for part in ("train", "validation"):  # in training the errors are those of the images as they were seen
            result[part] = [round(record[part]["top1_error"], 3) for record in run.history]
            result[f"{part}_loss"] = [round(record[part]["loss"], 4) for record in run.history]
        result["seconds"] = round(sum(len(data.train) / record["images_per_second"] for record in run.history))
        run.done()
    return result


# ---- the experiments ----


def figure1(study: Study) -> None:
    """Section 3.1: a four-layer net with ReLUs "reaches a 25% training error rate on CIFAR-10 six times faster than an
    equivalent network with tanh neurons", each at the rate that makes it fastest.
    """
    rates = {"relu": (0.0005, 0.001, 0.002, 0.004), "tanh": (0.001, 0.002, 0.004, 0.008, 0.016)}
    results = study.results(
        Trial(f"{activation}, rate {lr:g}", "cifar10_full", replace(FIGURE1, lr=lr, seed=seed),
              {"activation": activation, "lrn": False})
        for seed in study.seeds for activation in rates for lr in rates[activation]
    )  # fmt: skip
    rows, fastest = [], {}
    for variant, trials in variants(results).items():
        reached = [epochs for trial in trials if (epochs := comparisons.epochs_to(trial["train"], 25.0)) is not None]
        told = Spread(tuple(reached)) if len(reached) == len(trials) else f"{len(reached)} of {len(trials)} runs do"
        ends = [f"{trial['train'][-1]:.1f} after {len(trial['train'])}" for trial in trials if trial["train"]]
        rows.append((variant, len(trials), told, "; ".join(ends) or "diverged"))
        if isinstance(told, Spread):
            activation = trials[0]["network"]["activation"]
            fastest[activation] = min(fastest.get(activation, (told.mean, variant)), (told.mean, variant))
    if len(fastest) == 2:
        rows.append(("tanh : ReLU, each at its fastest", "", f"{fastest['tanh'][0] / fastest['relu'][0]:.1f} : 1", ""))
    title = f"Training error of cifar10_full without LRN. {about(results)}"
    study.table(title, ("activation", "seeds", "epochs to 25 % training error", "error at the end (%)"), rows)
    best, names = {variant for _, variant in fastest.values()}, list(rates)
    lines = []
    for trial in results:
        group, chosen = names.index(trial["network"]["activation"]), trial["variant"] in best
        label = trial["variant"] + ", its fastest" * chosen
        lines.append(Line(label, trial["train"], group, dashed=group == 1, faint=not chosen))
    comparisons.curves(study.figure, title, lines, "training error (%)", level=(25.0, "25 %"))


def cifar10_quick(study: Study) -> None:
    """Caffe's examples/cifar10: after 5,000 steps, 75.33 % of the test images are right."""
    results = study.results(Trial("quick", "cifar10_quick", replace(QUICK, seed=seed)) for seed in study.seeds)
    compare(study, results, "quick", {"training error": "train_error", "test error": "error"})
    lines = [Line(trial["variant"], trial["validation"]) for trial in results]
    level = (24.67, f"Caffe: 24.67 % after {QUICK.epochs} epochs")
    comparisons.curves(study.figure, f"cifar10_quick. {about(results)}", lines, "test error (%)", level)


def cifar10_full(study: Study) -> None:
    """Section 3.3: LRN took a net for CIFAR-10 from 13 to 11 % test error. Section 3.4: windows that overlap lower the
    error, and overfit a little less. cuda-convnet's page gives 18 % for this net, with its LRN.
    """
    changed = {"full": {}, "without LRN": {"lrn": False}, "pooling 2/2": {"pool": 2}}
    results = study.results(
        Trial(variant, "cifar10_full", replace(FULL, seed=seed), network)
        for seed in study.seeds for variant, network in changed.items()
    )  # fmt: skip
    compare(study, results, "full", {"training error": "train_error", "test error": "error"})
    groups = list(variants(results))
    lines = [Line(trial["variant"], trial["validation"], groups.index(trial["variant"])) for trial in results]
    level = (18, f"cuda-convnet: 18 % after {FULL.epochs} epochs")
    comparisons.curves(study.figure, f"cifar10_full. {about(results)}", lines, "test error (%)", level)


def ingredients(study: Study) -> None:
    """Sections 3.2, 3.3, 4 and 5, on photos: the paper's net at half its width, and each of its parts left out. It
    starts from He's weights, since with the paper's, which want pixels of 0 to 255, it learns nothing.
    """
    half = {"width": 0.5, "initialization": "he-conv1"}
    changed = {
        "all parts": (PHOTOS, {}),
        "no crops or mirrors": (replace(PHOTOS, offsets=False, mirror=False), {}),
        "no colour noise": (replace(PHOTOS, colour_noise=0.0), {}),
        "no dropout": (PHOTOS, {"dropout": 0.0}),
        "one tower, half the kernels": (PHOTOS, {"groups": 1, "kernels": 0.5}),  # section 3.2 and its footnote
        "one tower that sees everything": (PHOTOS, {"groups": 1}),
        "no LRN": (PHOTOS, {"lrn": False}),
        "no weight decay": (replace(PHOTOS, weight_decay=0.0), {}),
        "the paper's first weights": (replace(PHOTOS, unit_pixels=False), {"initialization": "paper"}),
    }
    results = study.results(
        Trial(variant, "alexnet", replace(settings, seed=seed), half | network)
        for seed in study.seeds for variant, (settings, network) in changed.items()
    )  # fmt: skip
    quantities = {"training error": "train_error", "validation error": "error", "ten views": "ten_error"}
    spreads = compare(study, results, "all parts", quantities)
    learned = [row for row in spreads if row[1][1][1].mean < 0.9 * results[0]["chance"]]  # the others are in the table
    comparisons.points(study.figure, f"AlexNet at half its width. {about(results)}", learned, "error (%)")
    whole = [trial for trial in results if trial["variant"] == "all parts" and "diverged" not in trial]
    for count in (1, 3, 5):  # section 6 averages five nets
        if count <= len(whole):
            nets = [load_trained(study.folder / trial["run"]) for trial in whole[:count]]
            tested = evaluate_networks(nets, nets[0].open_data(study.data).val, "middle")
            print(f"{count} net{'s' * (count > 1)} averaged, middle crops: {tested.top1_error:.1f} % wrong")


def towers(study: Study) -> None:
    """Section 6.1: the kernels of one tower are "largely color-agnostic", those of the other "largely color-specific";
    it "occurs during every run and is independent of any particular random weight initialization".
    """
    start = {"initialization": "he-conv1"}
    results = study.results(Trial("towers", "alexnet", replace(TOWERS, seed=seed), start) for seed in study.seeds)
    rows, nets = [], []
    for trial in results:
        weight = load_trained(study.folder / trial["run"]).net["conv1"].params["weight"]
        rows.append((trial["seed"], *colours(weight), f"{trial['error']:.1f}"))
        nets.append((f"seed {trial['seed']}", weight))
    title = f"How coloured conv1's kernels are, on average. {about(results)}"
    header = ("seed", "formed, of each tower", "colour of those", "p", "colour of all", "p", "validation error (%)")
    study.table(title, header, rows)
    comparisons.tower_kernels(study.figure, title, nets)


# ---- what is made of the results ----


def about(results: list[dict]) -> str:
    """The data, and on what the results were computed."""
    machines = " and ".join(sorted({result["machine"] for result in results}))
    return f"{results[0]['data']}, {results[0]['images']:,} training images; {machines}"


def compare(study: Study, results: list[dict], base: str, quantities: dict[str, str]) -> list:
    """A table with a row for each variant, its errors, and how far they are from those of the variant `base`; returns
    the spreads over seeds, as `points` draws them.
    """
    rows, spreads = [], []
    for variant, trials in variants(results).items():
        found = {key: Spread(tuple(trial[key] for trial in trials)) for key in quantities.values()}
        spreads.append((variant, list(zip(quantities, found.values(), strict=True))))
        cells = [f"{spread}" for spread in found.values()]
        if variant != base and (others := [trial for trial in results if trial["variant"] == base]):
            for place, (key, spread) in enumerate(found.items()):
                compared = comparisons.difference(spread, Spread(tuple(trial[key] for trial in others)))
                cells[place] += f" ({compared})"
        diverged = sum("diverged" in trial for trial in trials)
        took = duration(sum(trial["seconds"] for trial in trials) / len(trials))
        rows.append((variant + f" ({diverged} diverged)" * bool(diverged), len(trials), *cells, took))
    s, model = results[0]["settings"], results[0]["model"]
    title = f"{model}, {s['epochs']} epochs at a rate of {s['lr']:g}; in brackets: against {base}. {about(results)}"
    study.table(title, ("net", "seeds", *(f"{name} (%)" for name in quantities), "a training took"), rows)
    return spreads


def colours(weight) -> tuple[str, ...]:
    """Of both towers: how many kernels have formed, how coloured these are and all of them, and the chance, p, that two
    halves of the same kernels differ by as much.
    """
    cells = []
    kinds = comparisons.colourfulness(weight).reshape(2, -1)
    formed = comparisons.smoothness(weight).reshape(2, -1) > 0.5
    for parts in ([kind[kept] for kind, kept in zip(kinds, formed, strict=True)], kinds):
        means = [f"{part.mean():.2f}" if len(part) else "-" for part in parts]
        cells += [", ".join(means), f"{comparisons.chance_of_difference(*parts):.3f}"]
    return (", ".join(str(kept.sum()) for kept in formed), *cells)


# ---- the command line ----

EXPERIMENTS = {
    "figure1": figure1, "cifar10-quick": cifar10_quick, "cifar10-full": cifar10_full, "ingredients": ingredients,
    "towers": towers,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=EXPERIMENTS, metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--data", required=True, metavar="DIR", help="the pictures")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="(default: experiments/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with what is in --output-dir")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="of each net; tables and figures are of "
                        "these (default: 0 1 2, for towers 0 1 2 3)")  # fmt: skip
    parser.add_argument("--epochs", type=int, metavar="N", help="of each net, for a first look (default: 10 to 140, "
                        "as this page has them)")  # fmt: skip
    parser.add_argument("--only", nargs="+", default=(), metavar="WORD", help="train only what has one of these "
                        "words in its folder's name; tables and figures show all that is done")  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="threads that decode images (default: 2)")
    args = parser.parse_args()
    folder = args.output_dir or Path("experiments") / args.name
    seeds = list(dict.fromkeys(args.seeds or range(4 if args.name == "towers" else 3)))
    check_matplotlib()  # before hours of work
    study = Study(args.name, folder, partial(train, args), seeds, args.epochs, args.only, args.resume, args.data)
    EXPERIMENTS[args.name](study)


if __name__ == "__main__":
    console.run(main)
