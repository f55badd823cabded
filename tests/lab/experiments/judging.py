"""What an experiment's judge says, in a form that tests compare."""

from halfsync.lab.experiment import Experiment, Outcome
from halfsync.lab.samples import Samples


def judged(experiment: Experiment, samples: Samples) -> tuple[Outcome, str]:
    """Return the outcome and the sentence."""
    verdict = experiment.judge(samples)
    assert verdict.sentence.endswith(".")
    assert "  " not in verdict.sentence
    return verdict.outcome, verdict.sentence
