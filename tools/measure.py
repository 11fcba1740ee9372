"""Measures what results/ holds, one command after the other; `make results` runs it.

    python tools/measure.py --list            the commands, and which of them are done
    python tools/measure.py                   all that are not done
    python tools/measure.py --only=quickstart,vgg16_cpu

Everything is first written to runs/results/, and copied to results/ when its command has ended. A
command that is done is passed over, and a study that was stopped goes on where it was; to begin
anew, remove runs/results/ and the folders of the studies: runs/study/, runs/longer/, runs/grocery/.
One that fails is named, and the others are measured all the same: *_runtimes, *_exporters and
data_bench need torch, and data_bench torchvision, in the environment.
Stop other programs meanwhile: their share shows in the times.

The studies on photos start from runs/keras-resnet50, which make fetches; the records of their runs
are in results/grocery. What tools/scale.py computes from such measurements, docs/scale.md tells.
"""

import argparse
import dataclasses
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("runs") / "results"
STUDY = "study --config=configs/quickstart.py --variants="
PHOTOS = "study --config=configs/grocery.py --variants="
SERVED = "--runtimes=jax,onnxruntime"
METHODS = (
    "lowres,stem,wae,wae-fast,wavelet-cdf97,wavelet-haar,space-to-depth,decomposition,"
    "wae-early,cdf97-early,haar-early,space-to-depth-early"
)
PHOTO_METHODS = (
    "lowres,lowres-128,lowres-160,stem,wae,wae-fast,wae-early,haar-early,wavelet-cdf97,"
    "decomposition"
)
PHOTOS_TWICE = "lowres,lowres-128,lowres-160,wae,wae-fast,wae-early"  # with a second seed
PHOTO_RIVALS = (
    "full,lowres,wae-fast,wae-early+distill,full+thinet-0.5,full+taylor-2x,full+tucker-2x,"
    "wae-fast+thinet-0.5,wae-early+thinet-0.5+distill,full+int8,full+thinet-0.5+int8,"
    "full+taylor-2x+int8,full+tucker-2x+int8,lowres+int8,wae-fast+int8,wae-fast+thinet-0.5+int8,"
    "wae-early+distill+int8,wae-early+thinet-0.5+distill+int8"
)
_REMOVED = [
    f"full+{method}-{fewer}"
    for fewer in ("2x", "3.4x", "4x")
    for method in ("taylor", "thinet", "tucker", "cp", "asymmetric")
]
RIVALS = ",".join(
    [
        "full,lowres,wae-fast,wae-early,lowres+distill,wae-fast+distill,wae-early+distill",
        *_REMOVED,
        *(f"{name}+distill" for name in _REMOVED),
        "wae-fast+thinet-0.5+distill,wae-early+thinet-0.5+distill,full+int8,lowres+int8",
        "wae-fast+int8,wae-fast+distill+int8,wae-fast+thinet-0.5+distill+int8",
        "wae-early+distill+int8,wae-early+thinet-0.5+distill+int8",
    ]
)
# As many passes in one go as what is pruned in RIVALS has in two, and pruned networks made of that.
LONGER = (
    "full,lowres,wae-early,lowres+distill,wae-early+distill,full+taylor-3.4x,full+taylor-4x,"
    "full+tucker-4x,full+cp-4x --config.stages.joint.epochs=9.6 "
    "--config.stages.end_to_end.epochs=9.6 --config.compress.epochs=2.4"
)
RUNTIMES = (
    "--methods=full,lowres,wae-fast,wae-early --batch_sizes=1,8 --runtimes=jax,onnxruntime,openvino"
)
EXPORTERS = "tools/exporters.py --methods=full,wae-fast --seconds=15"
ON_PHOTOS = (
    "--seconds=8 --methods=full,lowres,wae,wae-fast,wavelet-cdf97,wavelet-haar,decomposition"
)


@dataclasses.dataclass(frozen=True)
class Result:
    """A CSV file, and the command that makes it.

    Attributes:
        name: of the file, without .csv.
        command: of wae-jax, or one of tools/, without the options that name files.
        picture: the option that names a picture beside the CSV, or empty.
        workdir: of a study; studies of one folder share its runs.
        first: commands of the same study that come before, where variants differ in their seeds.
    """

    name: str
    command: str
    picture: str = ""
    workdir: str = ""
    first: tuple[str, ...] = ()

    @property
    def commands(self) -> list[list[str]]:
        """Arguments of Python, one command after the other."""
        own = [f"--workdir={self.workdir}"] if self.workdir else []
        before = [["-m", "wae_jax", *shlex.split(command), *own] for command in self.first]
        return [*before, self.arguments]

    @property
    def arguments(self) -> list[str]:
        """Of Python, from the repository's root: the command that writes the files."""
        csv = FOLDER / f"{self.name}.csv"
        found = [*shlex.split(self.command), f"--csv={csv}"]
        if not found[0].endswith(".py"):
            found = ["-m", "wae_jax", *found]
        if self.picture:
            found.append(f"{self.picture}={csv.with_suffix('.png')}")
        if self.workdir:
            found.append(f"--workdir={self.workdir}")
        return found

    @property
    def files(self) -> list[str]:
        """What the command writes, the environment last."""
        ends = (".csv", *((".png",) if self.picture or self.workdir else ()), ".env.json")
        return [self.name + end for end in ends]

    def done(self, root: Path) -> bool:
        """Whether its command has ended."""
        return all((root / FOLDER / name).exists() for name in self.files)


def _alone_and_taught(methods: str) -> str:
    """The variants of a study: each method alone, and with the full-resolution network's help."""
    return ",".join(["full", methods, *(f"{method}+distill" for method in methods.split(","))])


# Those that take minutes before those that take hours.
RESULTS = (
    Result("vgg16_cpu", f"bench --config=configs/vgg16.py {ON_PHOTOS}", "--plot"),
    Result("resnet50_cpu", f"bench --config=configs/resnet50.py {ON_PHOTOS}", "--plot"),
    Result("resnet50_runtimes", f"bench --config=configs/resnet50.py {RUNTIMES},torch"),
    Result("vgg16_runtimes", f"bench --config=configs/vgg16.py {RUNTIMES}"),
    Result("resnet50_exporters", f"{EXPORTERS} --config=configs/resnet50.py"),
    Result("vgg16_exporters", f"{EXPORTERS} --config=configs/vgg16.py"),
    Result(
        "data_bench",
        "data-bench --config=configs/vgg16.py --config.data.name=photos_500x375 "
        "--peer=torchvision --config.stages.joint.batch_size=64",
    ),
    Result("quickstart", f"{STUDY}full,lowres,wae-early", workdir="runs/study"),
    Result(
        "cifar10",
        f"{STUDY}{_alone_and_taught(METHODS)} --seeds=0,1,2 {SERVED}",
        workdir="runs/study",
    ),
    Result("cifar10_rivals", f"{STUDY}{RIVALS} --seeds=0,1 {SERVED}", workdir="runs/study"),
    Result("cifar10_longer", f"{STUDY}{LONGER} --seeds=0,1 {SERVED}", workdir="runs/longer"),
    Result(
        "grocery_resnet50",
        f"{PHOTOS}{_alone_and_taught(PHOTO_METHODS)} --seeds=0,1 --only=measure {SERVED}",
        workdir="runs/grocery",
        first=tuple(
            f"{PHOTOS}{_alone_and_taught(methods)} --seeds={seed} --only=train"
            for seed, methods in enumerate((PHOTO_METHODS, PHOTOS_TWICE))
        ),
    ),
    Result("grocery_rivals", f"{PHOTOS}{PHOTO_RIVALS} --seeds=1 {SERVED}", workdir="runs/grocery"),
)
COMPUTED = ("scale_full", "scale_wae_early")  # by tools/scale.py, from other measurements


def measure(result: Result, root: Path = ROOT) -> None:
    """Runs the commands of a result, and copies what they wrote to results/."""
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for command in result.commands:
        subprocess.run([sys.executable, *command], cwd=root, check=True)
    for name in result.files:
        if (root / FOLDER / name).exists():
            shutil.copy(root / FOLDER / name, root / "results" / name)


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Runs the program; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="only says what would be run")
    parser.add_argument("--only", default="", help="names of results, comma-separated")
    options = parser.parse_args(argv)
    names = options.only.split(",") if options.only else [result.name for result in RESULTS]
    known = {result.name: result for result in RESULTS}
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no result {', '.join(unknown)}; there are: {', '.join(known)}")
    failed = []
    for result in (known[name] for name in names):
        state = "done" if result.done(root) else "to do"
        shown = [f"python {shlex.join(command)}" for command in result.commands]
        print(f"{result.name}, {state}: {'; '.join(shown)}", flush=True)
        if not options.list and not result.done(root):
            try:
                measure(result, root)
            except subprocess.CalledProcessError:
                failed.append(result.name)
    if failed:
        print(f"failed: {', '.join(failed)}; the same command goes on with them", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
