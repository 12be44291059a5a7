"""How good the predictions are: metrics with intervals, per class and per source, and the report.

`assess` turns a table of predictions into `Metrics`; `write_metrics` and `read_metrics` keep them
as ``metrics.json``; `write_report` writes the page of a run.
"""
