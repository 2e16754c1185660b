"""An evaluation: every arm, built anew for each withheld field, is asked all that the catalogue can answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from contracts.catalogue import Song
from model_jobs.evaluate.asking import QUERIES, Candidates, Likeness
from model_jobs.evaluate.figures import Evaluation, Figure
from model_jobs.evaluate.listeners import Listeners
from model_jobs.evaluate.popularity import Popularity
from model_jobs.evaluate.questions import COHERENT, RANDOM, RETRIEVED, Coherence, OneGenre, Question, Retrieval, Spread
from model_jobs.evaluate.scoring import PopularArm, RandomArm, Scorer, Space
from model_jobs.evaluate.traits import Shared, values_of
from model_jobs.evaluate.withhold import FIELDS, Field, withhold
from model_jobs.model import ModelBuilder, Report, no_report

POPULAR: Final = "popular"
# Of fewer queries an interval is too wide to say anything.
_FEW: Final = 30
_PARTS: Final = 100
# What a model that cannot be built raises, with a sentence; anything else is a mistake of ours.
_CANNOT: Final = (RuntimeError, ValueError, LookupError, OSError, ImportError)

# Arm and withheld field -> the model to build of songs without that field.
ModelFor = Callable[[str, Field | None], ModelBuilder]


@dataclass(frozen=True)
class Plan:
    """How much is asked. `queries`: songs of each question about songs; `listeners`: of all others.

    `withheld`: only questions for which one of these fields is withheld; None among them: those for which none is.
    """

    listeners: int = 200
    queries: int = QUERIES
    seed: int = 0
    withheld: Sequence[Field | None] = (*FIELDS, None)


def evaluate(
    songs: Sequence[Song],
    arms: Sequence[str],
    model_for: ModelFor,
    plan: Plan,
    report: Report = no_report,
) -> Evaluation:
    """Ask `arms`, the random and the popular one beside them. The same songs, plan and models give the same figures.

    What cannot be asked becomes a note: a field that no songs share, an arm that cannot be built, with the reason.
    Raises ValueError for a catalogue too small to ask anything of.
    """
    ordered = sorted(songs, key=lambda song: song.song_id)
    run = _Run(ordered, plan, model_for, report)
    run.questions += _questions(ordered, plan, run.notes)
    run.ask_all(arms)
    about = {"songs": len(ordered), **asdict(plan), "models": run.params}
    return Evaluation(about, run.figures, [*run.notes, *run.failed()])


@dataclass
class _Run:
    """An evaluation that is going on. `failures`: (arm, why) -> the fields without which it could not be built."""

    songs: list[Song]
    plan: Plan
    model_for: ModelFor
    report: Report
    questions: list[Question] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    failures: dict[tuple[str, str], list[Field | None]] = field(default_factory=dict)

    def ask_all(self, arms: Sequence[str]) -> None:
        """The random arm first, the others are compared with it; then one model in memory at a time."""
        fields = list(dict.fromkeys(question.withheld for question in self.questions))
        jobs = [(arm, withheld) for arm in [RANDOM, POPULAR, *arms] for withheld in fields]
        for number, (arm, withheld) in enumerate(jobs):
            say = _scaled_report(self.report, _job(arm, withheld), number, len(jobs))
            scorer = self._scorer(arm, withheld, say)
            asked = [question for question in self.questions if question.withheld == withheld]
            for done, question in enumerate(asked if scorer is not None else []):
                say("asking", done, len(asked))
                assert scorer is not None
                self.figures += question.ask(arm, scorer)

    def _scorer(self, arm: str, withheld: Field | None, say: Report) -> Scorer | None:
        if arm == RANDOM:
            return RandomArm(len(self.songs), [self.plan.seed, (*FIELDS, None).index(withheld)])
        return PopularArm(self.songs) if arm == POPULAR else self._built(arm, withheld, say)

    def failed(self) -> Iterator[str]:
        """A sentence for each arm that could not be built."""
        fields = dict.fromkeys(question.withheld for question in self.questions)
        for (arm, why), missing in self.failures.items():
            withheld = [each or "nothing" for each in missing]
            where = "" if len(missing) == len(fields) else f" with {', '.join(withheld)} withheld"
            yield f"{arm} was not measured{where}: {why}"

    def _built(self, arm: str, withheld: Field | None, say: Report) -> Scorer | None:
        try:
            model = self.model_for(arm, withheld)
            self.params.setdefault(arm, model.params())
            vectors = model.build(withhold(self.songs, withheld), say)
        except _CANNOT as error:
            self.failures.setdefault((arm, str(error)), []).append(withheld)
            return None
        if vectors.left_out:
            self.notes.append(_left_out(_job(arm, withheld), vectors.left_out))
        return Space(self.songs, vectors, self.plan.seed)


def _left_out(job: str, left_out: Mapping[str, str]) -> str:
    why = next(iter(left_out.values()))
    songs = f"{len(left_out):,} song{'s' if len(left_out) > 1 else ''}"
    return f"{job} has no vector of {songs} ({why}): as queries these find nothing, and they are never picked"


def _questions(songs: Sequence[Song], plan: Plan, notes: list[str]) -> Iterator[Question]:
    candidates = Candidates.of(songs)
    for withheld in (each for each in (*RETRIEVED, *COHERENT) if each in plan.withheld):
        for elsewhere in (False, True):
            asked = Likeness.draw(candidates, withheld, elsewhere=elsewhere, queries=plan.queries, seed=plan.seed)
            notes += _about(asked)
            if len(asked.queries):
                yield (Retrieval if withheld in RETRIEVED else Coherence)(asked, plan.seed)
    if "franchise" in plan.withheld:
        notes += _whose_tags(candidates)
    yield from _listeners(candidates, plan, notes)


def _listeners(candidates: Candidates, plan: Plan, notes: list[str]) -> Iterator[Question]:
    listeners = Listeners.draw(candidates.songs, plan.listeners, plan.seed)
    if listeners.genre is None:
        notes.append("no genre has 20 songs: listeners like any three songs; precision of their genre is not measured")
    elif "genres" in plan.withheld:
        for elsewhere in (False, True):
            yield OneGenre(candidates, listeners, elsewhere, plan.seed)
    if None in plan.withheld:
        popularity = Popularity.of(candidates.songs)
        notes += popularity.notes
        yield Spread(candidates, listeners, popularity, plan.seed, notes)


def _about(asked: Likeness) -> Iterator[str]:
    """What the catalogue lacks for a question."""
    songs, there, noun = len(asked.candidates.songs), f"{asked.having:,} of", _noun(asked.field)
    where = "in another anime" if asked.elsewhere else "in the catalogue"
    if not asked.having:
        if not asked.elsewhere:
            yield f"no song of the {songs:,} has {noun}: nothing is measured of it"
    elif not len(asked.queries):
        yield f"{there} {songs:,} songs have {noun}, but none shares it with a song {where}: not measured"
    elif len(asked.queries) < _FEW:
        yield f"only {len(asked.queries)} songs share {noun} with one {where}: the intervals are wide"
    elif not asked.elsewhere and 2 * asked.having < songs:
        yield f"only {there} {songs:,} songs have {noun}; the others take no part as queries, and are wrong answers"


def _noun(field: Field) -> str:
    return f"{'an' if field == 'artist' else 'a'} {field.removesuffix('s')}"


def _whose_tags(candidates: Candidates) -> Iterator[str]:
    """Where all songs of an anime have the same tags, these nearly name it, whatever else is withheld."""
    tags, anime = Shared(values_of(candidates.songs, "tags")), candidates.anime.matrix.tocsc()
    several = [anime.indices[slice(*anime.indptr[[a, a + 1]])] for a in np.flatnonzero(np.diff(anime.indptr) > 1)]
    tagged = [rows for rows in several if tags.sizes[rows].all()]
    alike = sum(len(np.unique(tags.matrix[rows].toarray(), axis=0)) == 1 for rows in tagged)
    if tagged and 2 * alike > len(tagged):
        yield (
            f"in {100 * alike / len(tagged):.0f} % of the anime with several songs all have the same tags: tags are "
            "the anime's here, and nearly name it also where franchise is withheld"
        )


def _scaled_report(report: Report, job: str, number: int, jobs: int) -> Report:
    """Progress of one job as progress of all of them."""

    def say(what: str, done: int, steps: int) -> None:
        report(f"{job}: {what}", number * _PARTS + _PARTS * done // max(steps, 1), jobs * _PARTS)

    return say


def _job(arm: str, withheld: Field | None) -> str:
    return f"{arm} without {withheld}" if withheld else arm
