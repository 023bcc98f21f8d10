"""What runs a model fastest on this device: `vigie-agent tune`.

===========  =================================================================
command      the command line, what it prints, and where it keeps the outcome
candidates   what there is to try here
pipeline     a candidate at work: a capture process, prepare, infer, decode
search       who is measured against whom, round by round
choosing     what the figures mean
===========  =================================================================
"""
