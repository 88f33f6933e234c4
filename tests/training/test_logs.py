"""`log.csv` and TensorBoard's files: what is in them, once."""

import csv

import pytest
import tensorflow as tf

from keras_vit.training.logs import Board, write_csv

EPOCHS = [
    {"epoch": i, "step": 10 * i, "learning_rate": 0.1, "loss": 1 / i, "val_loss": 2 / i}
    for i in (1, 2, 3)
]
STEPS = [{"step": i, "loss": 1 / i, "learning_rate": 0.1} for i in (5, 10, 15)]


def _events(folder):
    """(tag, step, value) of all files in a folder."""
    files = [str(path) for path in folder.glob("events.out.tfevents.*")]
    found = []
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


def test_the_table_has_every_number_in_full(tmp_path):
    write_csv(tmp_path / "log.csv", EPOCHS)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{k: float(v) for k, v in row.items()} for row in rows] == EPOCHS


def test_a_number_that_comes_late_has_a_column(tmp_path):
    write_csv(tmp_path / "log.csv", [{"epoch": 1}, {"epoch": 2, "val_loss": 0.5}])
    assert (tmp_path / "log.csv").read_text() == "epoch,val_loss\n1,\n2,0.5\n"


def test_epochs_are_split_into_training_and_validation(tmp_path):
    board = Board(tmp_path / "board", [], [])
    for row in EPOCHS:
        board.add_epoch(row)
    board.close()
    train, validation = (_events(tmp_path / "board" / kind) for kind in ("train", "validation"))
    assert [event[:2] for event in validation] == [("epoch_loss", i) for i in (1, 2, 3)]
    assert [value for _, _, value in validation] == pytest.approx([2.0, 1.0, 2 / 3])
    assert {tag for tag, _, _ in train} == {"epoch_loss", "epoch_learning_rate"}


def test_an_epoch_is_on_the_disk_at_its_end(tmp_path):
    board = Board(tmp_path / "board", EPOCHS[:1], [])
    assert len(_events(tmp_path / "board" / "validation")) == 1
    board.close()


def test_a_board_that_is_made_anew_has_nothing_twice(tmp_path):
    for known in (0, 2):
        board = Board(tmp_path / "board", EPOCHS[:known], STEPS[:known])
        for row in STEPS[known:]:
            board.add_step(row)
        for row in EPOCHS[known:]:
            board.add_epoch(row)
        board.close()
    train = _events(tmp_path / "board" / "train")
    assert [step for tag, step, _ in train if tag == "batch_loss"] == [5, 10, 15]
    assert [step for tag, step, _ in train if tag == "epoch_loss"] == [1, 2, 3]
    assert len(list((tmp_path / "board" / "train").iterdir())) == 1
