"""What the agent and the collector must agree on: small, and free of I/O except `mqtt` and `configfile`.

============  ================================================================
records       the types on the wire, with their limits
wire          a batch as bytes: header line, newline, compressed body
topics        the one place that spells MQTT topics
histogram     integer histograms over fixed bins, which add up exactly
schema        each stored field once: name, unit, kind, meaning
commands      how both command lines start, answer mistakes, and report `check`
configdoc     settings as commented YAML, from their own docstrings
configfile    YAML into typed settings, with errors that name file, key, rule and value
failpoints    places where a test can kill a process, or let a thread hang
stamps        signs of life: which part of a program hangs
notify        what systemd is told
redact        credentials out of URLs, before anything is logged or sent
mqtt          the one wrapper around paho-mqtt
============  ================================================================
"""

__version__ = "0.1.0"
