"""What the collector keeps that is no time series: one SQL database, and a folder of pictures.

===========  ======================================================
tables       the database's tables, and how it is opened
quarantine   messages that could not be stored, with the reason
pictures     snapshots of the streams
===========  ======================================================
"""
