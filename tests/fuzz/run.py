"""Fuzzes one reader in this process: ``python -m tests.fuzz.run TARGET ENGINE SECONDS FOLDER``.

It ends with status 0 and a line of JSON when the time is over; on an input that makes the reader
fail in another way than promised, or hang, or take more memory than there may be, with another. The
input is then in FOLDER.
"""

import faulthandler
import json
import resource
import sys
import time
import warnings
from pathlib import Path

SEED = 1
MEMORY = 1 << 30  # bytes above what the process has at the start
HANG_S = 10.0
BATCH = 20  # inputs between two looks at the clock


def limit_memory() -> None:
    """From now on this process may take 1 GiB more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(name: str, engine: str, seconds: float, folder: Path) -> None:
    """Runs one engine for a time."""
    warnings.simplefilter("ignore")
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["wae_jax"]):
            target = _make(name, folder)
    else:
        target = _make(name, folder)
    for seed in target.seeds:
        target.try_(seed)  # what is needed once is there before the limit
    limit_memory()
    last = folder / "last-input"

    def try_(data: bytes) -> None:
        last.write_bytes(data)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        target.try_(data)
        faulthandler.cancel_dump_traceback_later()

    run = {"atheris": _atheris, "hypothesis": _hypothesis}[engine]
    run(try_, target.seeds, seconds, folder)


def _make(name: str, folder: Path):
    from tests.fuzz.targets import BROKEN, TARGETS

    files = folder / "files"
    files.mkdir()
    return (TARGETS | BROKEN)[name](files)


def _hypothesis(try_, seeds: list[bytes], seconds: float, folder: Path) -> None:
    import hypothesis
    import hypothesis.configuration

    from tests.fuzz.damage import damaged

    hypothesis.configuration.set_hypothesis_home_dir(folder)
    ends, count, inputs = time.monotonic() + seconds, 0, damaged(seeds)
    while time.monotonic() < ends:

        @hypothesis.seed(SEED + count)
        @hypothesis.settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(inputs)
        def batch(data: bytes) -> None:
            nonlocal count
            count += 1
            try_(data)

        batch()
    print(json.dumps({"inputs": count}))


def _atheris(try_, seeds: list[bytes], seconds: float, folder: Path) -> None:
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir()
    for i, seed in enumerate(seeds):
        (corpus / str(i)).write_bytes(seed)
    options = [
        f"-seed={SEED}",
        f"-max_total_time={max(1, round(seconds))}",
        f"-artifact_prefix={folder}/",
        "-max_len=65536",
        "-rss_limit_mb=0",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], try_)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
