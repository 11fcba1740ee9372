"""What a newcomer mistypes, forgets or points at: one line that names it and says what to do."""

import pytest

from wae_jax import __version__
from wae_jax.__main__ import COMMANDS

QUICK = "--config=configs/quickstart.py"
TRAIN = f"train {QUICK} --workdir=w"
STUDY = f"study {QUICK} --workdir=w --variants=full"
IMPORT = "import-weights --source=torchvision --model=resnet50 --out=out"
EXPORT = "export --checkpoint=empty --format=onnx"

# The command line, and words of the answer.
MISTYPED_OPTIONS = {
    "train --confg=a --workdir=w": "no option --confg (did you mean --config?)",
    f"train {QUICK} --workdri=w": "no option --workdri (did you mean --workdir?)",
    f"{TRAIN} --epochs=3": "did you mean --config.stages.STAGE.epochs?",
    f"{TRAIN} epochs=3": "unexpected argument 'epochs=3'; options look like --name=value",
    f"{TRAIN} --continue_with_changes=maybe": "'maybe'; it must be true or false",
    "evaluate --chekpoint=a": "no option --chekpoint (did you mean --checkpoint?)",
    "predict --input=a.onnx --josn photo.jpg": "no option --josn (did you mean --json?)",
    "summary --conifg=a": "no option --conifg (did you mean --config?)",
    f"summary {QUICK} --depth=two": "--depth is 'two'; it must be a whole number",
    f"{EXPORT} --outt=a.onnx": "no option --outt (did you mean --out?)",
    "compress --checkpoint=a --metod=taylor": "no option --metod (did you mean --method?)",
    f"recommend {QUICK} --budget=3": "no option --budget (did you mean --budget_ms?)",
    f"recommend {QUICK} --budget_ms=fast": "--budget_ms is 'fast'; it must be a number",
    f"bench {QUICK} --method=wae": "no option --method (did you mean --methods?)",
    f"study {QUICK} --workdri=w": "no option --workdri (did you mean --workdir?)",
    f"{STUDY} --stages.joint.steps=9": "did you mean --config.stages.STAGE.steps?",
    "visualize --cuont=3": "no option --cuont (did you mean --count?)",
    "report --workdri=w": "no option --workdri (did you mean --workdir?)",
    f"{IMPORT} --inn=a.pth": "no option --inn (did you mean --in?)",
    "prepare folder --in=a --nane=b": "no option --nane (did you mean --name?)",
    f"data-bench {QUICK} --worker=2": "no option --worker (did you mean --workers?)",
}
FORGOTTEN = {
    "": "name a command, one of: train",
    "train": "required: --config, --workdir; see wae-jax train --help",
    "train --config --workdir=w": "--config needs a value, as --config=",
    "train --config= --workdir=w": "--config is empty; name a config file",
    f"train {QUICK} --workdir=": "--workdir is empty; name a folder",
    "evaluate": "required: --checkpoint; see wae-jax evaluate --help",
    "evaluate --checkpoint": "--checkpoint: expected one argument",
    "predict photo.jpg": "one of the arguments --checkpoint --input is required",
    "predict --input=a.onnx": "required: FILE_OR_FOLDER",
    "summary": "name either --config or --checkpoint",
    "export --checkpoint=a": "required: --format, --out",
    "compress --checkpoint=empty --method=taylor --out=o": "--method=taylor needs --macs",
    "recommend": "give either --config=FILE.py or --pretrained=CHECKPOINT",
    "bench": "give either --config=FILE.py or --input=FILE",
    "study": "required: --workdir",
    "study --workdir=w": "--config is needed for training",
    f"study {QUICK} --workdir=w": "--variants is needed for training",
    "visualize": "required: --checkpoint",
    "report": "required: --workdir",
    "import-weights": "required: --source, --model, --in, --out",
    "prepare": "required: {imagenet2012,tfrecord,folder}",
    "prepare imagenet2012": "--train=ILSVRC2012_img_train.tar",
    "prepare tfrecord": "required: --in, --out",
    "data-bench": "required: --config",
}
WRONG_PLACES = {
    "train --config=configs/quickstrat.py --workdir=w": "(did you mean configs/quickstart.py?)",
    "train --config=empty --workdir=w": "no config file empty: it is a folder",
    "train --config=notes.txt --workdir=w": "notes.txt does not end in .py",
    "train --config=broken.py --workdir=w": "broken.py fails: ZeroDivisionError",
    "train --config=typo.py --workdir=w": "typo.py fails: SyntaxError",
    "train --config=other.py --workdir=w": "other.py has no get_config function",
    "train --config=nothing.py --workdir=w": "returns NoneType; it must return a ConfigDict",
    f"train {QUICK} --workdir=notes.txt": "notes.txt: it is a file; name a folder",
    f"{TRAIN} --config.data.name=folder --config.data.data_dir=nowhere": "no folder nowhere; say",
    f"{TRAIN} --config.data.name=folder --config.data.data_dir=empty": "SPLIT/CLASS/PHOTO.jpg",
    f"{TRAIN} --config.restore=nowhere": "no checkpoint at nowhere: no such directory",
    "evaluate --checkpoint=nowhere": "no checkpoint at nowhere: no such directory",
    "evaluate --checkpoint=empty": "it is empty; give a training workdir or",
    "evaluate --checkpoint=notes.txt": "no checkpoint at notes.txt: it is a file",
    "predict --input=notes.txt photo.jpg": "notes.txt does not end in one of: .onnx",
    "predict --input=net.onnx photo.jpg": "does not take net.onnx",
    "predict --checkpoint=a nowhere.jpg": "cannot read nowhere.jpg: No such file",
    "predict --checkpoint=a empty": "empty: no image files in it (they end in .jpg",
    "summary --config=configs/quickstrat.py": "(did you mean configs/quickstart.py?)",
    "summary --checkpoint=empty": "no checkpoint in empty",
    f"{EXPORT} --out=a.pb": "--out must end in .onnx, and a.pb does not",
    f"{EXPORT} --out=nowhere/a.onnx": "cannot write nowhere/a.onnx: no such folder",
    f"{EXPORT} --out=a.onnx": "no checkpoint in empty",
    "compress --checkpoint=empty --method=taylor --macs=.5 --out=o": "no checkpoint in empty",
    "recommend --pretrained=nowhere": "no checkpoint at nowhere",
    f"recommend {QUICK} --csv=nowhere/a.csv": "cannot write nowhere/a.csv: no such folder",
    f"bench {QUICK} --checkpoints=wae=nowhere": "no checkpoint at nowhere",
    f"bench {QUICK} --plot=a.txt": "--plot must end in .png or .pdf or .svg",
    "bench --input=nowhere.onnx": "--input: no file nowhere.onnx",
    "bench --input=notes.txt": "notes.txt does not end in .onnx or .stablehlo",
    "study --workdir=w --config=notes.txt --variants=full": "notes.txt does not end in .py",
    "study --workdir=w --config=broken.py --variants=full": "config of full fails: ZeroDivision",
    "study --workdir=nowhere --only=report": "record of a finished run: no such folder",
    "study --workdir=empty --only=report": "empty has no record of a finished run",
    f"{STUDY} --csv=nowhere/a.csv": "cannot write nowhere/a.csv: no such folder",
    "visualize --checkpoint=empty": "no checkpoint in empty",
    "visualize --checkpoint=a --out=a.gif": "--out must end in .png or .pdf or .svg",
    "report --workdir=empty": "empty is no workdir of a run and no folder of a study",
    "report --workdir=a --out=a.pdf": "--out must end in .html or .htm",
    f"{IMPORT} --in=nowhere.pth": "no such file: nowhere.pth",
    f"{IMPORT} --in=notes.txt": "are read from .safetensors or .pth, .pt files",
    f"{IMPORT} --in=notes.txt --labels=nowhere.txt": "--labels: there is no file nowhere.txt",
    "prepare imagenet2012 --train=nowhere.tar": "nowhere.tar",
    "prepare tfrecord --in=empty --out=o/a/1.0.0": "name the folder with the TFRecord files",
    "prepare folder --in=empty --name=birds": "empty/SPLIT/CLASS/PHOTO; names end in .jpg,",
    f"data-bench {QUICK} --csv=nowhere/a.csv": "cannot write nowhere/a.csv: no such folder",
}
UNKNOWN_NAMES = {
    "trian": "no command 'trian' (did you mean train?)",
    f"{TRAIN} --config.stages.joint.epoch=3": "(did you mean config.stages.joint.epochs?)",
    f"{TRAIN} --config.stages.jiont.epochs=3": "(did you mean config.stages.joint?)",
    f"{TRAIN} --config.stages.joint.epochs=many": "'many'; it must be a number",
    f"{TRAIN} --config.model.backbone.name=resnet5": "(did you mean 'resnet50'?)",
    f"{TRAIN} --config.data.augmentation=smal": "(did you mean 'small'?)",
    f"{TRAIN} --config.data.name=cifar": "did you mean cifar10",
    "train --config=configs/quickstart.py:wea --workdir=w": "'wea' (did you mean 'wae'?)",
    "evaluate --checkpoint=a --bad_records=skipp": "(did you mean 'skip'?)",
    "predict --input=a.onnx --top=many photo.jpg": "'many' is no whole number",
    f"summary {QUICK} --config.model.backbone.nam=vgg": "config.model.backbone.name?",
    "export --checkpoint=a --format=onx --out=a.onnx": "(did you mean 'onnx'?)",
    "compress --checkpoint=a --method=taylr --macs=.5 --out=o": "(did you mean 'taylor'?)",
    "compress --checkpoint=a --method=cp --macs=2 --out=o": "'2' is no fraction above 0",
    f"recommend {QUICK} --runtime=onnx": "(did you mean 'onnxruntime'?)",
    f"recommend {QUICK} --methods=wea": "--methods: no variant 'wea' (did you mean 'wae'?)",
    f"recommend {QUICK} --config.model.hed=3": "(did you mean config.model.head?)",
    f"bench {QUICK} --runtimes=onnx": "--runtimes: there is no 'onnx'; there are: jax",
    f"bench {QUICK} --dtypes=float16": "--dtypes is 'float16'",
    f"bench {QUICK} --devices=cuda": "--devices: 'cuda' is none of: cpu, gpu, tpu",
    f"bench {QUICK} --batch_sizes=0": "--batch_sizes and --seconds must be above 0",
    f"bench {QUICK} --checkpoints=wea=a": "--checkpoints names wea, which --methods lacks",
    f"study {QUICK} --workdir=w --variants=wea": "no variant 'wea' (did you mean 'wae'?)",
    f"{STUDY}+distil": "full+distil: no step 'distil'",
    f"{STUDY} --config.data.nam=a": "(did you mean config.data.name?)",
    f"{STUDY} --picture_of=wae": "--picture_of=wae is none of --variants",
    "study --workdir=w --only=reprot": "(did you mean 'report'?)",
    "visualize --checkpoint=a --count=0": "'0' is no whole number from 1",
    "report --workdir=a --skip=tmes": "'tmes' is none of evaluation, times",
    "import-weights --source=tochvision --model=a --in=b --out=c": "no source 'tochvision'",
    "prepare imagenet": "(did you mean 'imagenet2012'?)",
    "prepare folder --in=empty --name=Birds": "use small letters, digits and _",
    f"data-bench {QUICK} --peer=pytorch": "--peer: 'pytorch' is none of: torchvision",
    f"data-bench {QUICK} --seconds=-1": "--seconds is -1; it must be above 0",
}
TABLES = (MISTYPED_OPTIONS, FORGOTTEN, WRONG_PLACES, UNKNOWN_NAMES)
CASES = {line: words for table in TABLES for line, words in table.items()}


@pytest.fixture(autouse=True)
def folder(root, tmp_path, monkeypatch):
    """A folder with the repository's configs, and files of other kinds."""
    (tmp_path / "configs").symlink_to(root / "configs")
    (tmp_path / "empty").mkdir()
    for name, text in {
        "notes.txt": "hello\n",
        "photo.jpg": "no photo",
        "net.onnx": "no network",
        "broken.py": "def get_config(variant=''):\n    return 1 / 0\n",
        "typo.py": "def get_config(:\n",
        "other.py": "x = 1\n",
        "nothing.py": "def get_config():\n    pass\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")
@pytest.mark.parametrize("line", CASES)
def test_a_mistake_is_one_line(line, refuse, folder):
    before = {path.name for path in folder.iterdir()}
    refuse([CASES[line]], *line.split())
    assert {path.name for path in folder.iterdir()} <= before | {"data"}  # TFDS's folder


@pytest.mark.parametrize("table", TABLES)
def test_every_command_is_in_each_table(table):
    assert {line.split(" ")[0] for line in table} >= set(COMMANDS)


def test_version_and_help_are_no_mistakes(succeed):
    assert succeed("--version") == f"wae-jax {__version__}\n"
    assert succeed("help") == succeed("--help")
