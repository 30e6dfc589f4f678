"""What of an answer is its style."""

import numpy
import pytest

from gatebench.bench.metrics.style import Style, style_differences, style_of

ANSWER = """# Title

Some **bold** and __bold__ words.

1. first
2. second
- third
### Below
```
# no header
- no item
```
"""


def test_marks_are_counted_outside_of_code():
    found = style_of(ANSWER)
    assert found == Style(found.words, (1, 0, 1, 0, 0, 0), ordered=2, unordered=1, stars=1, bars=1)
    assert style_of("It is 4.").words == 4


def test_the_differences_are_those_of_the_formula():
    (found,) = style_differences(["**a** b"], ["c"])  # 6 words and marks against 1; 1 bold text against none
    bold = 1 / 7
    assert found == pytest.approx([5 / 7, 0, 0, bold / (bold + 1)])
    numpy.testing.assert_array_equal(style_differences(["", "x"], ["", "x"]), 0)
