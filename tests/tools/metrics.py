"""Reads a scrape of /metrics from the standard input with the OpenMetrics parser of the Prometheus project, which this
project did not write, and prints the metrics as JSON. The parser refuses each violation of the format."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = [
    {
        "name": family.name,
        "type": family.type,
        "unit": family.unit,
        "help": family.documentation,
        "samples": [[sample.name, sample.labels, sample.value] for sample in family.samples],
    }
    for family in text_string_to_metric_families(sys.stdin.read())
]
print(json.dumps(families))
