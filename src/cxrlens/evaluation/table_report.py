"""The report of a table of scores of anybody's model."""

from pathlib import Path

from cxrlens.evaluation import population
from cxrlens.evaluation.disease_page import disease_section
from cxrlens.evaluation.diseases import Judged
from cxrlens.evaluation.metrics import Metrics
from cxrlens.evaluation.report import headline, reading, results, sources
from cxrlens.evaluation.scores import Scores
from cxrlens.evaluation.sources import source_warning
from cxrlens.evaluation.wording import estimate, range_in_words
from cxrlens.pages.page import Page, Tile


def write_table_report(
    scores: Scores, measured: Metrics | Judged, path: Path, force: bool = False
) -> Path:
    """Write the report of a table of scores as one HTML file.

    Parameters
    ----------
    scores
        The films that were measured.
    measured
        What `cxrlens.evaluation.assess.assess_scores` found.
    path, force
        As in `cxrlens.evaluation.report.write_report`.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    OutputError
        If the file exists and `force` is not set, or it cannot be written.
    """
    page = Page(
        f"Scores of “{Path(scores.name).name}”",
        f"Measured on {measured.films:,} films of {measured.patients:,} patients",
        population=population.describe(scores.table, scores.classes),
    )
    if isinstance(measured, Metrics):
        headline(page, measured, "test", scores.table)
    else:
        page.section("In short", "in-short")
        page.tiles(
            [
                Tile(
                    f"{name} against normal, AUC",
                    estimate(one.whole.auc.value),
                    range_in_words(one.whole.auc.interval),
                )
                for name, one in measured.diseases.items()
                if not one.whole.unknown
            ]
        )
        warning = source_warning(scores.table, sorted(scores.table["label"].unique()))
        if warning:
            page.warning(warning)
    page.points(scores.notes)
    disease_section(page, measured.diseases, scores.table)
    if isinstance(measured, Metrics):
        results(page, measured, scores.table, {"test": measured})
        if measured.by_source:
            sources(page, measured)
        reading(page, measured)
    return page.write(path, force)
