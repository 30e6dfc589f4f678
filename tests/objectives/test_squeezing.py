"""What the callback that only measures says, without a training."""

import logging

import pytest

from gatebench import SqueezingCallback


def test_a_number_of_steps_that_is_none():
    with pytest.raises(ValueError, match="every=0 is no number of steps; write 1 or more"):
        SqueezingCallback(every=0)


@pytest.mark.parametrize(
    ("chosen", "argmax", "end"),
    [
        (-3.0, 2.0, "The chosen responses lost mass and the most likely tokens gained it: squeezing"),
        (-3.0, -2.0, "The chosen responses lost mass, and not to the most likely tokens"),
        (-3.0, 0.05, "The chosen responses lost mass; these probes do not tell whether to the most likely tokens"),
        (3.0, 2.0, None),
    ],
)
def test_the_conclusion_says_what_was_measured(caplog, chosen, argmax, end):
    callback = SqueezingCallback()
    moved = {"chosen": chosen, "rejected": -9.0, "argmax": argmax}
    noise = (-0.2, 0.1, 0.0, 0.1)
    callback.before = {(i, kind): -50.0 for i in range(4) for kind in moved}
    now = {(i, kind): -50.0 + change + noise[i] for i in range(4) for kind, change in moved.items()}
    with caplog.at_level(logging.INFO, logger="gatebench"):
        callback._conclude(now, 7)
    (record,) = caplog.records
    assert "over 7 steps, in nats (mean ± standard error of 4 probes): chosen" in record.getMessage()
    assert record.levelno == (logging.WARNING if end else logging.INFO)
    assert not end or record.getMessage().endswith(end)
