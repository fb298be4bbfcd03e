"""Haystack reports its use over the network and writes into the home folder, unless it is told before its import."""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
