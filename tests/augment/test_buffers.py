from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from imgtrain.augment.buffers import Buffers


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    buffers = Buffers(most_spare=4)
    first = buffers.take((4, 5, 6, 3))
    place = address(first)
    second = buffers.take((4, 5, 6, 3))
    assert not np.shares_memory(first, second)
    del first
    assert address(buffers.take((9, 5, 6, 3))) != place  # too small for it: freed
    first = buffers.take((4, 5, 6, 3))
    place = address(first)
    del first
    # A short last batch fits into the memory of a whole one.
    third = buffers.take((2, 5, 6, 3))
    assert address(third) == place
    assert third.shape == (2, 5, 6, 3)


def test_a_view_keeps_the_memory() -> None:
    buffers = Buffers(most_spare=4)
    whole = buffers.take((4, 5, 6, 3))
    view = whole[3]
    del whole
    assert not np.shares_memory(view, buffers.take((4, 5, 6, 3)))


def test_what_shares_the_memory_without_being_an_array_keeps_it() -> None:
    buffers = Buffers(most_spare=4)
    whole = buffers.take((4, 5, 6, 3))
    place = address(whole)
    raw = memoryview(whole[2])
    del whole
    assert address(buffers.take((4, 5, 6, 3))) != place
    del raw
    assert place in {address(array) for array in [buffers.take((4, 5, 6, 3)) for _ in range(2)]}


def test_only_so_much_memory_stays_as_is_allowed() -> None:
    tracemalloc.start()
    try:
        buffers = Buffers(most_spare=3)
        size = 1 << 20
        held = [buffers.take((size,)) for _ in range(10)]
        assert tracemalloc.get_traced_memory()[0] > 10 * size
        held.clear()
        assert 3 * size < tracemalloc.get_traced_memory()[0] < 4 * size
        buffers.clear()
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()


def test_arrays_begin_where_tensorflow_need_not_copy() -> None:
    buffers = Buffers(most_spare=4)
    arrays = [buffers.take((3, size, 7, 1)) for size in range(1, 20)]
    assert all(address(array) % 64 == 0 and array.flags.c_contiguous for array in arrays)


def test_threads_never_get_the_same_memory() -> None:
    buffers = Buffers(most_spare=4)

    def write(number: int) -> bool:
        for _ in range(200):
            array = buffers.take((3, 100, 100, 3))
            array[:] = number
            if not (array == number).all():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(8)))
