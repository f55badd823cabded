"""Metrics as a monitor reads them: by the parser of prometheus_client."""

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from tests.client import fetch

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Series:
    """Return each sample's value by its name and its labels. No sample may occur twice."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series, key
            series[key] = sample.value
    return series


def scrape(address: tuple[str, int]) -> Series:
    """Return what an admin address answers at /metrics."""
    response = fetch(address, "/metrics")
    assert response.status == 200, response
    return parse(response.body.decode())


def value(series: Series, name: str, **labels: str) -> float:
    """Return the sum of the samples with this name and at least these labels; 0: there are none."""
    wanted = set(labels.items())
    return sum(number for (each, has), number in series.items() if each == name and wanted <= has)


def counts(series: Series) -> Series:
    """Return the samples that never may go back: of counters and histograms."""
    return {
        key: number
        for key, number in series.items()
        if key[0].endswith(("_total", "_bucket", "_count", "_sum"))
    }


def gone_back(before: Series, after: Series) -> Iterable[str]:
    """Yield each count that has gone back, or is not there any more."""
    for (name, labels), number in counts(before).items():
        if after.get((name, labels), -1.0) < number:
            yield f"{name} {dict(labels)}: {number} and then {after.get((name, labels))}"
