"""What processes of a training are told to do by the tests of it: a module that they import."""

import os
import signal
import time

from gatebench.bench.stages import train
from gatebench.bench.stages.training import resume

SLOWLY = 1.0  # seconds in which others go on
KILLED_AFTER = 0.7  # of its steps: behind the checkpoint at the fifth of eight


def killed_midway(spec, inputs, out, report, team):
    """A training with a checkpoint at every logged step, whose first process takes its time to write one and whose
    second process is killed."""
    from transformers import PreTrainedModel

    resume.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    save = PreTrainedModel.save_pretrained

    def slowly(*given, **named):
        time.sleep(SLOWLY)
        save(*given, **named)

    PreTrainedModel.save_pretrained = slowly

    def deadly(share, text):
        report(share, text)
        if team.rank == 1 and share > KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)

    return train._share(spec, inputs, out, deadly, team)
