"""The whole comparison: train, sample, score, report; every stage goes on from what is there."""

from __future__ import annotations

from collections.abc import Sequence

from cmrsynth.comparison.page import write_pages
from cmrsynth.comparison.pictures import draw_pictures
from cmrsynth.comparison.plan import Plan
from cmrsynth.comparison.programs import training_record
from cmrsynth.comparison.result import Comparison, collect
from cmrsynth.comparison.rows import Row, rows_of
from cmrsynth.comparison.sampling import SampleJob, current_record, sample, slices_of
from cmrsynth.comparison.scoring import ScoreJob, current_scores, references, score
from cmrsynth.comparison.trainings import Start, run_trainings, unfinished
from cmrsynth.comparison.workers import run_jobs

STAGES = ("train", "sample", "score", "report")


def compare(
    plan: Plan,
    *,
    stages: Sequence[str] = STAGES,
    only: str | None = None,
    workers: int,
    start: Start | None = None,
) -> Comparison:
    """Return what the comparison of a plan finds, after doing what is missing of it.

    Args:
        plan: the plan.
        stages: of `STAGES`, to be done; the last writes `comparison.json`, `.md`, `.html` and the pictures.
        only: a pattern of the families that are trained, sampled and scored; the report shows all.
        workers: processes at a time.
        start: starts a training; see `run_trainings`.

    Raises:
        InputError: the plan cannot be carried out; the failure of one family is told in the report instead.
    """
    names, failed = plan.chosen(only), {}
    if "train" in stages:
        failed |= run_trainings(plan, names, workers, start)
    else:
        unfinished(plan, names)  # refuses runs of other settings, whose figures are not this plan's
    rows = [row for name in names if training_record(plan, name) is not None for row in rows_of(plan, name)]
    if "sample" in stages:
        failed |= _sample(plan, rows, workers)
    if "score" in stages:
        failed |= _score(plan, [row for row in rows if _sampled(plan, row)], workers)
    comparison = collect(plan, failed)
    if "report" in stages:
        comparison.save()
        write_pages(comparison, draw_pictures(comparison))
    return comparison


def _sampled(plan: Plan, row: Row) -> bool:
    record = current_record(plan, row)
    return record is not None and record["refused"] is None


def _sample(plan: Plan, rows: Sequence[Row], workers: int) -> dict[str, str]:
    # the costliest first, so that no long one is left for the end
    jobs = [SampleJob(plan, row) for row in sorted(rows, key=lambda row: -(row.steps or 0))]
    failed = run_jobs(sample, jobs, workers=workers, title="sampling", name=lambda job: job.name)
    return {f"sample {name}": why for name, why in failed.items()}


def _score(plan: Plan, rows: Sequence[Row], workers: int) -> dict[str, str]:
    jobs = [ScoreJob(plan, row, len(slices_of(plan, row.masks))) for row in rows]
    jobs = [job for job in jobs if current_scores(job) is None]
    if not jobs:
        return {}
    references(plan)  # trains the judge, which every process then loads
    floors = {job.count: ScoreJob(plan, None, job.count) for job in jobs if not job.row.teaches}
    for work in (list(floors.values()), sorted(jobs, key=lambda job: not job.row.teaches)):
        failed = run_jobs(score, work, workers=workers, title="scoring", name=lambda job: job.name)
        if failed and work[0].row is None:
            raise RuntimeError(f"the floors could not be measured: {failed}")
    return {f"score {name}": why for name, why in failed.items()}
