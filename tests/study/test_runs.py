"""Records of finished runs."""

import json

import numpy as np
import pytest

from wae_jax.errors import UserError
from wae_jax.study import runs

RIGHT = np.array([True, False, True])


def test_a_record_comes_back_as_it_was(run_of, tmp_path):
    run = run_of("wae-fast+distill", 3, right=RIGHT)
    runs.write(str(tmp_path), run)
    (found,) = runs.read_all(str(tmp_path))
    assert found == run and found.correct.tolist() == RIGHT.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["wae-fast+distill-3.json"]


def test_images_that_were_skipped_do_not_count(run_of):
    run = run_of("wae", right=RIGHT, labels="4 -1 -1 2", predicted="4 -1 7 3")
    assert run.correct.tolist() == [True, False]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 2}', '{"format": 1, "seed": 0}'])
def test_what_is_no_record(text, tmp_path):
    (tmp_path / "wae-0.json").write_text(text)
    with pytest.raises(UserError, match=r"wae-0\.json is no record"):
        runs.read_all(str(tmp_path))


def test_other_files_are_no_records(tmp_path):
    for name in ("times.json", "results.env.json", "wae-1.txt", "-1.json"):
        (tmp_path / name).write_text("{")
    assert runs.read_all(str(tmp_path)) == []


def test_what_is_chosen(run_of):
    found = [
        run_of("lowres", 1, right=RIGHT),
        run_of("full", 1, right=RIGHT),
        run_of("lowres", 0, right=RIGHT),
        run_of("wae", 0, right=RIGHT),
    ]

    def chosen(variants=(), seeds=()):
        return {k: [r.seed for r in v] for k, v in runs.select(found, variants, seeds, "d").items()}

    assert list(chosen()) == ["full", "lowres", "wae"]
    assert chosen() == {"full": [1], "lowres": [0, 1], "wae": [0]}
    assert list(chosen(["wae", "full"])) == ["wae", "full"]
    assert chosen(seeds=[1]) == {"full": [1], "lowres": [1]}
    with pytest.raises(UserError, match=r"no record of a finished run of wae$"):
        chosen(["full", "wae"], [1])
    with pytest.raises(UserError, match="no record"):
        chosen(seeds=[7])


def test_runs_on_other_images_are_not_compared(run_of):
    found = [run_of("full", right=RIGHT), run_of("wae", right=RIGHT[:2])]
    with pytest.raises(UserError, match="full-0 and wae-0 in d were evaluated on other images"):
        runs.select(found, (), (), "d")


def test_rates_are_medians_of_each_stage(tmp_path):
    lines = [{"stage": "a", "images_per_s": x} for x in (1.0, 5.0, 7.0)]
    lines += [{"stage": "a", "top1": 0.5}, {"stage": "b", "images_per_s": 2.0}]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "metrics.jsonl").write_text(f'{text}\n{{"stage": "b", "imag')
    assert runs.rates(str(tmp_path)) == {"a": 5.0, "b": 2.0}
    assert runs.rates(str(tmp_path / "none")) == {}
