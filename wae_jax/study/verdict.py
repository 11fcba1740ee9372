"""Recommendations in words: a table, what pays and what does not, and what to train."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from wae_jax.runtime import tables
from wae_jax.study.recommend import BASE, HALF, Choice, Found, equal_time_side

PAYS = 1.3  # times faster than full, at least, with all of its interval
SHORT = 0.85  # of the MAC ratio; below it something eats the gain


@dataclasses.dataclass(frozen=True)
class Question:
    """What was asked.

    Attributes:
        network: A title for it; image_size: Side of its images in pixels.
        batch_size: Images in a call.
        where: The runtime with its version, and the machine.
        config: How a study of it is started: "--config=FILE"; empty where there is no config.
        budget_ms: Of a call; 0 for none.
        int8_instructions: Those of the processor, see
            :func:`wae_jax.runtime.machine.int8_instructions`.
    """

    network: str
    image_size: int
    batch_size: int
    where: str
    config: str
    budget_ms: float
    int8_instructions: tuple[str, ...] = ()


def as_text(question: Question, found: Found) -> str:
    """Everything as Markdown."""
    blocks = [
        f"{question.network}, {question.image_size} pixels, batch {question.batch_size}, "
        f"in {question.where}",
        _table(question, found.choices),
        "\n".join(_verdict(question, found)),
        _int8(question, found),
    ]
    blocks += [f"WARNING: {text}" for text in warnings(found)]
    blocks += [f"{method}: not possible: {why}" for method, why in found.impossible.items()]
    return "\n\n".join(block for block in blocks if block)


def as_records(question: Question, found: Found) -> list[dict[str, Any]]:
    """A JSON-able dict per method, fastest first."""
    records = []
    for c in found.choices:
        side = equal_time_side(found.choices, c.ms, question.image_size)
        figures = {
            "ms": c.ms,
            "mac_ratio": c.mac_ratio,
            "predicted": c.predicted,
            "speedup": c.speedup[0],
            "speedup_low": c.speedup[1],
            "speedup_high": c.speedup[2],
            "equal_time_lowres": side,
            "int8_ms": c.int8_ms,
            "int8_speedup": c.int8 and c.int8[0],
            **{f"{name.replace(' ', '_')}_ms": ms for name, ms in c.parts.items()},
        }
        records.append(
            {
                "method": c.method,
                "macs": c.macs,
                **{k: None if v is None else float(f"{v:.6g}") for k, v in figures.items()},
            }
        )
    return records


def loss(choice: Choice, full: Choice) -> tuple[str, float]:
    """The part that eats most of the gain, and the milliseconds beyond its MACs at full's rate."""
    ms_per_mac = full.ms / full.macs
    lost = {name: ms - choice.part_macs[name] * ms_per_mac for name, ms in choice.parts.items()}
    return max(lost.items(), key=lambda item: item[1])


def falls_short(choice: Choice) -> bool:
    """Whether much of what the MACs promise does not appear."""
    return choice.method != BASE and choice.speedup[0] < SHORT * choice.mac_ratio


def warnings(found: Found) -> list[str]:
    """A sentence for each learned method that falls short of its MAC ratio."""
    full = found.of(BASE)
    assert full is not None
    texts = []
    for c in found.choices:
        if not (c.learned and falls_short(c)):
            continue
        part, _ = loss(c, full)
        its = c.part_macs[part] * full.ms / full.macs
        texts.append(
            f"{c.method}: {c.speedup[0]:.2f}x of the {c.mac_ratio:.2f}x that its MACs promise. "
            f"The {part} eats most: {c.parts[part]:.3g} of {c.ms:.3g} ms, where its MACs would "
            f"take {its:.2g} ms at full's rate."
        )
    return texts


def _table(question: Question, choices: Sequence[Choice]) -> str:
    full = next(c for c in choices if c.method == BASE)
    lines = [
        ["method", "MAC ratio", "predicted", "measured [95 %]", "ms", "as long as", "lost in"],
    ]
    for c in choices:
        side = equal_time_side(choices, c.ms, question.image_size)
        plain = c.method == BASE or c.method.startswith(HALF)
        lines.append(
            [
                c.method,
                f"{c.mac_ratio:.2f}x",
                f"{c.predicted:.2f}x",
                "{:.2f}x [{:.2f}, {:.2f}]".format(*c.speedup),
                f"{c.ms:.4g}",
                "" if plain or side is None else f"lowres-{side:.0f}",
                loss(c, full)[0] if falls_short(c) else "",
            ]
        )
    return tables.markdown(lines)


def _verdict(question: Question, found: Found) -> list[str]:
    full = found.of(BASE)
    assert full is not None
    learned = [c for c in found.choices if c.learned]
    lines = [_does_it_pay(question, full, learned, found.choices)] if learned else []
    fits = found.choices
    if question.budget_ms:
        fits = [c for c in found.choices if c.ms <= question.budget_ms]
        lines.append(
            f"Within {question.budget_ms:g} ms a call: {', '.join(c.method for c in fits)}."
            if fits
            else f"Nothing here takes less than {question.budget_ms:g} ms a call; the fastest, "
            f"{found.choices[0].method}, takes {found.choices[0].ms:.3g}. A smaller network, or "
            "a lower resolution than these, is needed."
        )
    candidates = [c.method for c in _worth_training(fits, question)]
    if candidates and question.config:
        names = ",".join([BASE, *(f"{n}{end}" for n in candidates for end in ("", "+distill"))])
        lines.append(
            "Speed is known now, accuracy is not: train what may be worth it, side by side, with\n"
            f"  wae-jax study {question.config} --variants={names} --workdir=runs/study"
        )
    return lines


def _does_it_pay(
    question: Question, full: Choice, learned: Sequence[Choice], choices: Sequence[Choice]
) -> str:
    best = learned[0]  # fastest first
    figures = "{:.2f}x [{:.2f}, {:.2f}]".format(*best.speedup)
    if best.speedup[1] < PAYS:
        part, lost = loss(best, full)
        return (
            f"WAE will not pay here: the fastest of its forms, {best.method}, takes {best.ms:.3g} "
            f"ms where full takes {full.ms:.3g} ({figures}), though it needs {best.mac_ratio:.1f} "
            f"times fewer MACs. Most of the gain is lost in the {part} ({lost:.2g} ms)."
        )
    side = equal_time_side(choices, best.ms, question.image_size)
    rival = (
        f"What it has to beat in accuracy is plain low resolution at {side:.0f} pixels, which "
        "takes as long."
        if side
        else "No plain low resolution of those here takes as long."
    )
    return (
        f"WAE pays here: {best.method} is {figures} as fast as full ({best.ms:.3g} against "
        f"{full.ms:.3g} ms). {rival}"
    )


def _int8(question: Question, found: Found) -> str:
    """What int8 gains over float32, and why it gains little."""
    timed = [(c, c.int8) for c in found.choices if c.int8 is not None]
    if not timed:
        return ""
    figures = ", ".join(
        f"{c.method} {c.ms:.3g} -> {c.int8_ms:.3g} ms ({{:.2f}}x [{{:.2f}}, {{:.2f}}])".format(
            *gain
        )
        for c, gain in timed
    )
    has = ", ".join(question.int8_instructions)
    most = max(gain[0] for _, gain in timed)
    if most < PAYS:
        why = (
            f"though this processor has instructions for it ({has})"
            if has
            else "this processor has no instructions for it (VNNI or AMX)"
        )
        said = f"int8 gains little here, {why}: {figures}."
    else:
        said = f"In int8: {figures}; instructions for it: {has or 'none known'}."
    return f"{said} What it costs in accuracy: wae-jax export --int8 tells."


def _worth_training(fits: Sequence[Choice], question: Question) -> list[Choice]:
    """The fastest learned method, and the largest plain resolution that takes no longer."""
    learned = [c for c in fits if c.learned and c.speedup[1] >= PAYS]
    plain = [c for c in fits if c.method.startswith(HALF)]
    slower = [c for c in plain if not learned or c.ms <= learned[0].ms]
    rival = max(slower, key=lambda c: c.ms, default=None)
    return ([rival] if rival else []) + learned[:1]
