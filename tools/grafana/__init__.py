"""Writes the dashboards of ``grafana/`` and draws a picture of one.

``python -m tools.grafana`` writes ``grafana/dashboards/*.json`` anew; a test fails
while they are not what this code says.
"""
