"""What the collector keeps that is no time series: one SQL database, and a folder of pictures.

===========  ======================================================
tables       the database's tables
database     opening it, and errors that say what to do
quarantine   messages that could not be stored, with the reason
events       what the collector itself has to tell of a device
asked        what devices were asked to send again
pictures     snapshots of the streams
===========  ======================================================
"""
