"""An agent in miniature for tests: starts two children, of which one ignores everything, and prints their pids."""

import signal
import sys
from pathlib import Path

from agent.process.child import ChildSpec, Spawner
from agent.process.ring import RingMemory

spawner = Spawner(lambda child, record: None)
ring = RingMemory.create(64, 48, 4)
here = str(Path(__file__).resolve().parent)
children = [
    spawner.start(ChildSpec(what, "probe_child", env={"PYTHONPATH": here, "PROBE": what}))
    for what in ("idle", "stubborn")
]
for child in children:
    child.channel.receive(10)
print(*(child.pid for child in children), flush=True)
if sys.argv[1] == "end":
    sys.exit(0)
signal.pause()
