"""The experiments: each module has one claim, in one class.

A new one is a module, its import here, and its place in `ALL`. The order is that of `--list`, of reports and of
docs/lab.md: models, clients, creation, switching, zombies, sharing, pool size, hop, slow clients, overload, convoy,
lying clock.
"""

from __future__ import annotations

from halfsync.lab.experiment import Experiment
from halfsync.lab.experiments.clients import Clients
from halfsync.lab.experiments.convoy import Convoy
from halfsync.lab.experiments.creation import Creation
from halfsync.lab.experiments.hop import Hop
from halfsync.lab.experiments.lying_clock import LyingClock
from halfsync.lab.experiments.models import Models
from halfsync.lab.experiments.overload import Overload
from halfsync.lab.experiments.pool_size import PoolSize
from halfsync.lab.experiments.sharing import Sharing
from halfsync.lab.experiments.slow_clients import SlowClients
from halfsync.lab.experiments.switching import Switching
from halfsync.lab.experiments.zombies import Zombies

ALL: tuple[Experiment, ...] = (
    Models(),
    Clients(),
    Creation(),
    Switching(),
    Zombies(),
    Sharing(),
    PoolSize(),
    Hop(),
    SlowClients(),
    Overload(),
    Convoy(),
    LyingClock(),
)
BY_NAME = {experiment.name: experiment for experiment in ALL}
