"""The table of metrics: it reads all rows of the sources, and the page shows them."""

from tools.write_metrics_page import FREE_LABELS, SOURCES, families, main, render, values


def test_the_page_is_up_to_date() -> None:
    assert main(["--check"]) == 0


def test_each_row_of_the_sources_is_shown() -> None:
    text = (SOURCES / "admin" / "metrics.pyx").read_text(encoding="utf-8")
    rows = list(families())
    assert len(rows) == text.count("    Family(\n") > 10
    assert all(f"| `{row.name}` | {row.kind} |" in render() for row in rows)


def test_each_label_has_its_values() -> None:
    labels = [(row, label) for row in families() for label in row.labels]
    assert {label for _, label in labels} >= set(FREE_LABELS)
    assert all(f"| `{label}` | {meaning} |" in render() for label, meaning in FREE_LABELS.items())
    shown = {(row.name, label): values(row, label) for row, label in labels if label not in FREE_LABELS}
    assert {"idle", "running", "sending"} <= set(shown["halfsync_connections", "state"])
    assert shown["halfsync_processes", "state"] == ["booting", "serving", "closing", "closed"]
    assert {"ok", "shed", "expired", "error"} <= set(shown["halfsync_requests_total", "outcome"])
    assert shown["halfsync_requests_total", "status"] == ["none", "1xx", "2xx", "3xx", "4xx", "5xx"]
    assert "GET" in shown["halfsync_requests_total", "method"]
    assert "max_rss" in shown["halfsync_process_restarts_total", "cause"]
