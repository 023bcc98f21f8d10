"""How fast this device is with a model: the whole agent against nothing but the runtime.

=========  ======================================================================
command    `vigie-agent bench`: the command line, and what it prints
trial      one model on one source: the contenders, in alternated rounds
bare       a loop of `session.run` and nothing else, with the best of its settings
whole      the whole agent as a process of its own, which works when it is told to
child      that process
standin    the least that a collector does: it confirms batches
figures    medians, intervals, percentiles, and what a process takes
=========  ======================================================================

Everything is measured in alternated rounds within one run, and told as a ratio: a machine that is busy with
something else slows all contenders alike.
"""
