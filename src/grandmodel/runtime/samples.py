"""Which part of a run its models had seen before: a result on data that a model learnt from is no result.

Every model file says which span of time and which instruments its weights were fitted on, and on which its choices were calibrated. The
run's first record holds that for each model, and so does the record of each change of a model, so a journal alone is enough. Held against
the time for which a model decided, this cuts a run into parts:

- **in-sample**: a model decided on an instrument and a time that it learnt from or was calibrated on,
- **same time, other instruments**: it learnt from the same months, though not from the run's instruments; markets move together, so
  this is not quite unseen,
- **out-of-sample**: neither.

A simulated market is unseen by any model: its prices are invented. Where an agent with a model does not say what it learnt from, the part is
**not known**. Ratios are given by part; one over several parts would carry no such word, so there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from grandmodel.domain.learnt import LearntFrom
from grandmodel.domain.time import NEVER_NS, text_from_ns
from grandmodel.performance.ratios import AnnualRatios, annual_ratios
from grandmodel.runtime.model_loading import LEARNING_AGENT
from grandmodel.runtime.results import RunResults, is_on_simulated_market

Stretch: TypeAlias = tuple[int, int]
"""[start, end), int64 ns UTC."""

IN_SAMPLE = "in-sample"
SAME_TIME = "same time, other instruments"
OUT_OF_SAMPLE = "out-of-sample"
NOT_KNOWN = "not known"


class ModelOverlap(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a run, and what of the time for which it decided it had seen before."""

    agent: str
    learnt_from: LearntFrom | None
    """None where the agent does not say."""
    from_ns: int
    to_ns: int
    """For how long it decided in this run."""
    train_overlap_ns: Stretch | None
    """What of that lies in the span that its weights were fitted on."""
    calibration_overlap_ns: Stretch | None
    """What of that lies in the span that it was calibrated on."""
    seen: tuple[str, ...]
    """Instruments of the run that it learnt from."""
    not_seen: tuple[str, ...]
    """The others."""
    text: str
    """All of this in a sentence or two."""

    @property
    def part(self) -> str:
        """What the time for which it decided is at its worst: the word of a ``SamplePart``."""
        if self.learnt_from is None:
            return NOT_KNOWN
        if self.train_overlap_ns is None and self.calibration_overlap_ns is None:
            return OUT_OF_SAMPLE
        return IN_SAMPLE if self.seen else SAME_TIME


class SamplePart(AnnualRatios, frozen=True, kw_only=True):
    """The periods of one kind in a run, with what was made in them."""

    part: str
    """``in-sample``, ``same time, other instruments``, ``out-of-sample`` or ``not known``."""
    from_ns: int
    to_ns: int
    """From the beginning of its first period to the end of its last."""
    periods: int
    share: float
    """Of all periods of the run."""
    profit: float
    """After fees, in the base currency."""


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's models had seen of it."""

    text: str
    """The verdict in a line."""
    parts: tuple[SamplePart, ...] = ()
    """Those that the run has; none where no trained model decided."""
    models: tuple[ModelOverlap, ...] = ()

    @property
    def is_mixed(self) -> bool:
        """True where a ratio over the whole run would hide that part of it is not out-of-sample."""
        return any(part.part != OUT_OF_SAMPLE for part in self.parts)


def split_run(
    results: RunResults,
    times: NDArray[np.int64],
    equity: NDArray[np.float64],
    per_year: float | None,
    name: str,
    fewest: int,
    earned: NDArray[np.float64] | None = None,
) -> Samples:
    """Cut a run whose equity at the ends of its periods is ``equity`` (P + 1,), at ``times`` (P + 1,), into the parts above.

    ``earned`` (P + 1,) is what profits are taken from where equity also moved by what the owner brought or took.
    """
    models = model_overlaps(results, int(times[0]) if len(times) else 0, int(times[-1]) if len(times) else 0)
    learnt = [one for one in models if one.learnt_from is not None or one.agent == LEARNING_AGENT]
    silent = sorted({one.agent for one in models} - {one.agent for one in learnt})
    if not learnt:
        said = f"not known: agent {', '.join(silent)} does not say what it was fitted on" if silent else ""
        return Samples(
            text=said or "no trained model decided: there is nothing that it could have seen before", models=models
        )
    kinds = _kinds(learnt, times)
    parts = tuple(
        _part(kind, kinds == kind, times, equity, per_year, name, fewest, equity if earned is None else earned)
        for kind in (IN_SAMPLE, SAME_TIME, NOT_KNOWN, OUT_OF_SAMPLE)
        if (kinds == kind).any()
    )
    return Samples(text=_verdict(parts, results, silent), parts=parts, models=models)


def model_overlaps(results: RunResults, start_ns: int, end_ns: int) -> tuple[ModelOverlap, ...]:
    """Every model that decided between ``start_ns`` and ``end_ns``, with what it had seen of that time."""
    is_simulated = is_on_simulated_market(results.begin)
    instruments = tuple(str(instrument.id) for instrument in results.begin.instruments)
    found = []
    for place, model in enumerate(results.models):
        later = (
            other.from_ns
            for other in results.models[place + 1 :]
            if other.agent == model.agent and _layer(other.learnt_from) == _layer(model.learnt_from)
        )
        decided = _meet((start_ns, end_ns + 1), (model.from_ns, next(later, NEVER_NS)))
        if decided is not None:
            found.append(overlap_of(model.agent, model.learnt_from, instruments, decided, is_simulated=is_simulated))
    known = {instance.agent for instance in results.models}
    if LEARNING_AGENT in {agent.kind for agent in results.settings.agents} and LEARNING_AGENT not in known:
        # A journal from before the first record held what models learnt from.
        found.append(overlap_of(LEARNING_AGENT, None, instruments, (start_ns, end_ns + 1), is_simulated=is_simulated))
    return tuple(found)


def overlap_of(
    agent: str, learnt: LearntFrom | None, instruments: Sequence[str], decided: Stretch, *, is_simulated: bool = False
) -> ModelOverlap:
    """What of the stretch ``decided`` the model behind ``learnt`` had seen before, among ``instruments``."""
    seen = tuple(name for name in instruments if learnt is not None and name in learnt.instruments)
    train = calibration = None
    if learnt is not None and not is_simulated:
        train = _meet(decided, learnt.train_ns)
        calibration = None if learnt.calibration_ns is None else _meet(decided, learnt.calibration_ns)
    made = ModelOverlap(
        agent=agent,
        learnt_from=learnt,
        from_ns=decided[0],
        to_ns=decided[1],
        train_overlap_ns=train,
        calibration_overlap_ns=calibration,
        seen=seen,
        not_seen=tuple(name for name in instruments if name not in seen),
        text="",
    )
    return msgspec.structs.replace(made, text=_sentence(made, is_simulated=is_simulated))


def day_text(stretch: Stretch) -> str:
    """``2023-01-03 to 2023-07-01``, or one day."""
    first, last = (text_from_ns(ts)[:10] for ts in stretch)
    return first if first == last else f"{first} to {last}"


def _sentence(one: ModelOverlap, *, is_simulated: bool) -> str:
    learnt = one.learnt_from
    decided = f"decided {day_text((one.from_ns, one.to_ns))}"
    if learnt is None:
        return f"Agent {one.agent} {decided}; it does not say what it was fitted on."
    said = f"{learnt.model} {decided}. It learnt from {', '.join(learnt.instruments)}, {day_text(learnt.train_ns)}"
    if learnt.calibration_ns is not None:
        said += f", and was calibrated on {day_text(learnt.calibration_ns)}"
    if is_simulated:
        return f"{said}. The prices of this run are invented: no model had seen them."
    overlaps = [
        f"{word} {day_text(part)}"
        for word, part in (("learnt from", one.train_overlap_ns), ("was calibrated on", one.calibration_overlap_ns))
        if part is not None
    ]
    if not overlaps:
        return f"{said}. It had seen nothing of this run."
    told = []
    if one.seen:
        told.append(f"In-sample: of {', '.join(one.seen)} in this run it {' and '.join(overlaps)}.")
    if one.not_seen:
        told.append(
            f"It never saw {', '.join(one.not_seen)}, but it {' and '.join(overlaps)} of {', '.join(learnt.instruments)}: the same time."
        )
    return f"{said}. {' '.join(told)}"


def _verdict(parts: Sequence[SamplePart], results: RunResults, silent: Sequence[str]) -> str:
    if is_on_simulated_market(results.begin):
        said = "out-of-sample: the prices are invented, so no model had seen them"
    elif [part.part for part in parts] == [OUT_OF_SAMPLE]:
        said = "out-of-sample: the models had seen nothing of this run"
    else:
        said = "; ".join(
            f"{part.share:.0%} of the periods {part.part}, {day_text((part.from_ns, part.to_ns))}" for part in parts
        )
    return said + (f"; agent {', '.join(silent)} does not say what it was fitted on" if silent else "")


def _kinds(models: Sequence[ModelOverlap], times: NDArray[np.int64]) -> NDArray[np.str_]:
    """(P,) the kind of each period (``times[k]``, ``times[k + 1]``]: the worst that holds for any part of it."""
    kinds = np.full(max(len(times) - 1, 0), OUT_OF_SAMPLE, dtype=f"<U{len(SAME_TIME)}")
    marks: dict[str, list[Stretch]] = {SAME_TIME: [], NOT_KNOWN: [], IN_SAMPLE: []}
    for model in models:
        if model.part == NOT_KNOWN:
            marks[NOT_KNOWN].append((model.from_ns, model.to_ns))
        elif model.part != OUT_OF_SAMPLE:
            overlaps = (model.train_overlap_ns, model.calibration_overlap_ns)
            marks[model.part] += [part for part in overlaps if part is not None]
    for kind, stretches in marks.items():
        for start, end in stretches:
            kinds[(times[:-1] < end) & (times[1:] > start)] = kind
    return kinds


def _part(
    kind: str,
    own: NDArray[np.bool_],
    times: NDArray[np.int64],
    equity: NDArray[np.float64],
    per_year: float | None,
    name: str,
    fewest: int,
    earned: NDArray[np.float64],
) -> SamplePart:
    places = np.flatnonzero(own)
    ratios = ratios_of(equity, per_year, name, fewest, own)
    return SamplePart(
        part=kind,
        from_ns=int(times[places[0]]),
        to_ns=int(times[places[-1] + 1]),
        periods=len(places),
        share=len(places) / len(own),
        profit=float(np.diff(earned)[own].sum()),
        **msgspec.structs.asdict(ratios),
    )


def ratios_of(
    equity: NDArray[np.float64], per_year: float | None, name: str, fewest: int, own: NDArray[np.bool_] | None = None
) -> AnnualRatios:
    """The ratios of the simple returns of ``equity`` (P + 1,) at the ends of periods; ``own`` (P,) chooses among them."""
    began, made = equity[:-1], np.diff(equity)
    if own is not None:
        began, made = began[own], made[own]
    if (began <= 0.0).any():
        absent = "equity fell to 0 or below: a return is a fraction of equity, so none is defined from there on"
        return AnnualRatios(sharpe_absent=absent, sortino_absent=absent, ratio_basis=f"{len(made):,} {name} returns")
    return annual_ratios(made / began, per_year, name, fewest=fewest)


def _layer(learnt: LearntFrom | None) -> str:
    return "" if learnt is None else learnt.layer


def _meet(one: Stretch, other: Stretch) -> Stretch | None:
    """What two stretches have in common."""
    start, end = max(one[0], other[0]), min(one[1], other[1])
    return (start, end) if start < end else None
