"""The report page stands alone, shows what it is given, and runs nothing of it."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from keras_vit.training.answers import Answers, Sample, chosen, counted
from keras_vit.training.charts import Series, count_matrix, line_chart, ticks
from keras_vit.training.report_page import Page, report_page
from keras_vit.training.scoring import probabilities

EPOCHS = [
    {"epoch": i, "step": 4 * i, "loss": 1 / i, "val_loss": 2 / i, "val_accuracy": 1 - 1 / (1 + i)}
    for i in range(1, 7)
]
STEPS = [{"step": i, "loss": 1 / i, "learning_rate": 0.1 / i} for i in range(1, 25)]


def _answers(classes: int = 3, name: str = "class {}") -> Answers:
    labels = tuple(name.format(i) for i in range(classes))
    counts = np.eye(classes, dtype=np.int64) * 5
    counts[0, 1] = 7
    image = np.zeros((8, 8, 3), np.uint8)
    return Answers(
        labels,
        counts,
        right=(Sample(image, labels[0], labels[0], 0.75),),
        wrong=(Sample(image, labels[0], labels[1], 0.995),),
    )


def _page(answers: Answers, **changes) -> str:
    page = {
        "title": "vit on digits",
        "subtitle": "three classes",
        "tiles": {"accuracy": "97.1 %"},
        "epochs": EPOCHS,
        "steps": STEPS,
        "steps_per_epoch": 4,
        "answers": answers,
        "tables": {"Configuration": {"recipe": {"learning_rate": 0.001, "unset": None}}},
    }
    return report_page(Page(**{**page, **changes}))


class _Reader(HTMLParser):
    """Tags must close in order; collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def test_the_page_needs_no_network_and_no_script():
    page = _page(_answers())
    reader = _read(page)
    assert "script" not in reader.tags and "link" not in reader.tags
    assert reader.addresses and all(a.startswith("data:image/") for a in reader.addresses)
    assert not re.search(r"https?://|@import|url\(", page)


def test_the_page_follows_dark_screens():
    assert "prefers-color-scheme: dark" in _page(_answers())


def test_the_page_shows_what_it_is_given():
    text = " ".join(_read(_page(_answers())).text)
    for part in ("vit on digits", "97.1 %", "recipe.learning_rate", "0.001", "75.0% sure", "99.5%"):
        assert part in text
    assert "recipe.unset" not in text
    assert "class 0 taken for class 1: 7 (58.3%)" in text


def test_names_are_shown_and_not_obeyed():
    page = _page(_answers(name="<script>alert({})</script>"), title="<b>&amp;")
    reader = _read(page)
    assert "script" not in reader.tags
    assert "<script>alert(0)</script>" in " ".join(reader.text)
    assert reader.text.count("<b>&amp;") == 2


def test_many_classes_get_lists_and_no_matrix():
    page = _page(_answers(100))
    reader = _read(page)
    assert 'class="matrix"' not in page
    assert "Most frequent mistakes" in reader.text and "Weakest classes" in reader.text


def test_a_run_of_one_epoch_and_no_mistakes_has_a_page():
    answers = Answers(("a", "b"), np.eye(2, dtype=np.int64), (), ())
    text = _read(_page(answers, epochs=EPOCHS[:1], steps=[])).text
    assert "None." in text


def test_large_pictures_are_smaller_as_jpeg():
    sample = Sample(np.zeros((64, 64, 3), np.uint8), "a", "a", 1.0)
    assert sample.url.startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_of_any_channels_are_shown(channels):
    sample = Sample(np.zeros((8, 8, channels), np.uint8), "a", "a", 1.0)
    assert sample.url.startswith("data:image/png;base64,")


def test_the_surest_mistakes_are_shown_first_and_right_answers_evenly():
    targets = np.zeros(10, int)
    logits = np.tile([2.0, 0.0], (10, 1))
    logits[3], logits[7] = [0.0, 1.0], [0.0, 5.0]
    right, wrong = chosen(logits, targets, 3)
    assert wrong.tolist() == [7, 3]
    assert right.tolist() == [0, 5, 9]


def test_answers_are_counted_by_true_class():
    counts = counted(np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]), 2)
    assert counts.tolist() == [[1, 1], [1, 1]]


def test_probabilities_of_large_logits_are_finite():
    found = probabilities(np.array([[1e4, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[1.0, 0.0]])


def test_mistakes_and_weak_classes_are_in_their_order():
    answers = _answers()
    assert answers.confusions(5) == [("class 0", "class 1", 7)]
    assert answers.weakest(1) == [("class 0", 12, 5)]


@pytest.mark.parametrize(
    ("low", "high", "count"), [(0, 1, 5), (0.9, 0.97, 5), (3, 3, 5), (0, 0, 5), (1e-7, 3e-4, 5)]
)
def test_ticks_enclose_the_values_in_even_steps(low, high, count):
    found = ticks(low, high, count)
    steps = np.diff(found)
    assert found[0] <= low + 1e-12 and found[-1] >= high - 1e-12 and 2 <= len(found) <= 2 * count
    np.testing.assert_allclose(steps, steps[0])


def test_epochs_are_counted_in_whole_numbers():
    assert ticks(1, 3, 8, whole=True) == [1, 2, 3]


def test_what_is_not_finite_is_not_drawn():
    chart = line_chart("x", [Series("loss", "train", [(1, 1.0), (2, np.nan), (3, 2.0)])], "epoch")
    assert "nan" not in chart and chart.count("<circle") == 2


def test_a_spread_is_a_bar_with_room_for_it():
    points = [(1, 0.5), (2, 0.6)]
    chart = line_chart("x", [Series("loss", "train", points, spread={2: 0.3})], "epoch")
    bars = re.findall(r'class="bar train" x1="([\d.]+)" x2="\1" y1="([\d.]+)" y2="([\d.]+)"', chart)
    ((_, top, bottom),) = [tuple(map(float, bar)) for bar in bars]
    marks = [float(y) for y in re.findall(r'<circle [^>]*cy="([\d.]+)"', chart)]
    assert 0 < top < marks[1] < marks[0] < bottom < 280
    assert (top + bottom) / 2 == pytest.approx(marks[1], abs=0.1)


def test_nothing_to_draw_is_no_chart():
    assert line_chart("x", [Series("loss", "train", [])], "epoch") == ""


def test_labels_of_lines_that_end_together_do_not_cover_each_other():
    lines = [Series(name, "train", [(1, 0.0), (2, 1.0)]) for name in "abc"]
    heights = re.findall(
        r'class="end train" x="[\d.]+" y="([\d.]+)"', line_chart("x", lines, "epoch")
    )
    gaps = np.diff(sorted(map(float, heights)))
    assert len(gaps) == 2 and gaps.min() >= 29


def test_a_class_that_has_no_images_is_an_empty_row():
    matrix = count_matrix(np.array([[0, 0], [1, 2]]), ("a", "b"))
    assert "nan" not in matrix and "b taken for b: 2 (66.7%)" in matrix
