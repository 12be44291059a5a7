"""How good the predictions are: metrics with intervals, per class and per source.

`assess` turns a table of predictions into `Metrics`; `write_metrics` and `read_metrics` keep them
as ``metrics.json``.
"""
