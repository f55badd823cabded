"""The experiments: each module has one claim, in one class.

A new one is a module, its import here, and its place in `ALL`. The order is that of `--list`, of reports and of
docs/lab.md: models, clients, creation, switching, zombies, sharing, pool size, hop, slow clients, overload, convoy,
lying clock.
"""

from __future__ import annotations

from halfsync.lab.experiment import Experiment
from halfsync.lab.experiments.convoy import Convoy
from halfsync.lab.experiments.creation import Creation
from halfsync.lab.experiments.hop import Hop
from halfsync.lab.experiments.models import Models
from halfsync.lab.experiments.sharing import Sharing
from halfsync.lab.experiments.switching import Switching
from halfsync.lab.experiments.zombies import Zombies

ALL: tuple[Experiment, ...] = (
    Models(),
    Creation(),
    Switching(),
    Zombies(),
    Sharing(),
    Hop(),
    Convoy(),
)
BY_NAME = {experiment.name: experiment for experiment in ALL}
