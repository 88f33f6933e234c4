"""Streams that still make batches ahead do not keep Python from exiting; errors of any piece come through."""

import subprocess
import sys
import threading

import pytest

from keras_vit.data.ahead import Ahead, Job
from keras_vit.data.calls import Calls

CODE = """
import numpy as np, tensorflow as tf
from keras_vit.config import Preprocessing
from keras_vit.data import Augmentation, augmented, batches, load

images = np.zeros((64, 300, 300, 3), np.uint8)
labels = np.arange(64) % 4
strong = Augmentation(crop="inception", policy="three")
options = dict(augment=strong, epochs=100)
first = iter(batches(load((images, labels)), Preprocessing((224, 224)), 32, shuffle=True, **options))
own = tf.data.Dataset.from_tensor_slices((images, labels))
second = iter(augmented(own, Preprocessing((224, 224)), 32, **options))
next(first), next(second)
print("done", flush=True)
"""


def test_a_process_exits_while_batches_are_made():
    ended = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=240, check=True
    )
    assert ended.stdout == "done\n"


def _job(number: int) -> Job:
    parts = [0, 0, 0]

    def piece(i: int) -> None:
        if number == 5 and i == 1:
            raise ValueError("piece 1 of job 5")
        parts[i] = number

    return Job([lambda i=i: piece(i) for i in range(3)], lambda: tuple(parts))


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_any_order_that_is_asked_for(threads):
    ahead = Ahead(_job, threads, 5)
    asked = [0, 1, 2, 0, 4, 3, 3, 1]
    assert [ahead(n) for n in asked] == [(n, n, n) for n in asked]


def test_two_jobs_are_begun_ahead_and_none_after_the_last():
    begun = []
    ahead = Ahead(lambda n: begun.append(n) or _job(n), 2, 5)
    ahead(1)
    assert begun == [1, 2, 3]
    ahead(2)
    ahead(3)
    assert begun == [1, 2, 3, 4]


def test_the_error_of_a_piece_comes_where_its_result_is_asked_for():
    ahead = Ahead(_job, 2, 9)
    assert ahead(3) == (3, 3, 3) and ahead(4) == (4, 4, 4)
    for _ in range(2):
        with pytest.raises(ValueError, match="piece 1 of job 5"):
            ahead(5)
    assert ahead(6) == (6, 6, 6)


def test_a_closed_function_lets_the_last_call_end_and_no_other_begin():
    inside, go = threading.Event(), threading.Event()
    calls = Calls(lambda: (inside.set(), go.wait(10), "made")[2])
    results: list[str] = []
    caller = threading.Thread(target=lambda: results.append(calls()))
    caller.start()
    inside.wait(10)
    closer = threading.Thread(target=calls._gate.close)
    closer.start()
    closer.join(0.5)
    assert closer.is_alive()
    with pytest.raises(RuntimeError, match="Python is exiting"):
        calls()
    go.set()
    caller.join(10)
    closer.join(10)
    assert results == ["made"] and not closer.is_alive()
