"""On the server, in the order a batch travels.

==============  ==================================================================
cli             commands
check           `vigie-collector check`: whether this machine can collect
audit           `vigie-collector audit`: whether every frame of a device is accounted for
held            `vigie-collector quarantine`: what could not be stored, and trying it again
demo            `vigie-collector demo`: a whole small site on this machine
config          the YAML file, typed
build           the one place that makes objects out of configuration, and runs them
broker          the embedded broker, for one site, the demo and tests
receive         broker to a bounded queue
clock           its own clock, and what is believed of it
admit           a message as something that may be stored, or the reason why not
series          how many names a device may make up
watchdog        whether every part makes progress; systemd is told
twins           two devices with one name
ingest          queue to store, store to acks: many messages in one write
acks            what to tell the devices, coalesced
gaps            what the store lacks is asked for again
metrics         what the collector counts about itself
stores/         time series: a protocol, and one implementation each
state/          everything that is no time series: quarantine, pictures
queries/        named questions, once, over any store
ranges          sets of numbers
figures         sums of windows as rates, shares and percentiles
books           the ledger of a device: what became of every frame
timestamps      instants as the API writes them
wireschema      the published JSON Schema of the wire types
web/            REST, dashboard, metrics and health over HTTP
==============  ==================================================================

A batch is acked only after the store has it. The collector keeps nothing in memory that a device could not send
again: it can be killed at any moment.
"""
