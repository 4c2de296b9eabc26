"""operations/window.py against plain counting: output sizes, what overlaps what, and what an average divides by."""

import itertools
import math

import reference

from tinynet.operations.window import Window, along

CASES = [
    case
    for case in itertools.product(range(1, 9), range(1, 5), range(1, 5), range(3), range(3), (False, True))
    if case[0] + case[3] + case[4] >= case[1]
]


def starts(size, kernel, stride, before, after, ceil):
    return reference.window_starts(size, kernel, stride, (before, after), ceil)


def test_output_sizes():
    for case in CASES:
        assert Window(*case).output == len(starts(*case)), case


def test_a_kernel_that_does_not_fit_has_no_output():
    assert Window(3, 4).output == 0
    assert Window(3, 9, 2, 1, 1, True).output == 0
    assert Window(3, 4, 1, 1, 0).output == 1


def test_with_ceil_a_kernel_that_is_larger_by_less_than_the_stride_has_one():
    """ceil((size + padding - kernel) / stride) + 1, and at least 0, as PyTorch has it."""
    for size, kernel, stride, padding in itertools.product(range(1, 6), range(1, 8), range(1, 5), range(3)):
        span = size + 2 * padding - kernel
        if span < 0:
            expected = max(0, math.ceil(span / stride) + 1)
            window = Window(size, kernel, stride, padding, padding, True)
            assert window.output == expected == (-stride < span), window
            assert Window(size, kernel, stride, padding, padding).output == 0


def test_overlap_names_every_pair_of_output_and_input_once():
    for case in CASES:
        window = Window(*case)
        expected = {
            (output, offset, start + offset)
            for output, start in enumerate(starts(*case))
            for offset in range(window.kernel)
            if 0 <= start + offset < window.size
        }
        found = set()
        for offset in range(window.kernel):
            outputs, inputs = window.overlap(offset)
            pairs = zip(range(window.output)[outputs], range(window.size)[inputs], strict=True)
            found |= {(output, offset, position) for output, position in pairs}
        assert found == expected, case


def test_overlap_of_a_part_counts_from_its_start():
    for case in CASES:
        window = Window(*case)
        for start, stop in itertools.combinations(range(window.output + 1), 2):
            for offset in range(window.kernel):
                outputs, inputs = window.overlap(offset, start, stop)
                part = list(zip(range(start, stop)[outputs], range(window.size)[inputs], strict=True))
                outputs, inputs = window.overlap(offset)
                whole = zip(range(window.output)[outputs], range(window.size)[inputs], strict=True)
                assert part == [pair for pair in whole if start <= pair[0] < stop], (case, start, stop, offset)


def test_counts():
    for case in CASES:
        size, kernel, _, before, after, _ = case
        if 2 * max(before, after) > kernel:
            continue  # pooling's windows always see some input
        inside = [sum(0 <= start + i < size for i in range(kernel)) for start in starts(*case)]
        padded = [sum(-before <= start + i < size + after for i in range(kernel)) for start in starts(*case)]
        assert Window(*case).counts(False) == inside, case
        assert Window(*case).counts(True) == padded, case


def test_along():
    assert along(0, slice(2)) == (slice(2),)
    assert along(2, slice(1, 3)) == (slice(None), slice(None), slice(1, 3))
