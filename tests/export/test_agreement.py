import numpy as np
import pytest

from keras_vit.export.agreement import Agreement, Bar, agree, shortfalls


def test_same_answers() -> None:
    answers = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]])
    found = agree(answers, answers)
    assert (found.images, found.top1_agreement) == (2, 1.0)
    assert found.cosine_min == pytest.approx(1)
    assert found.margin == pytest.approx((1 + 5) / 2 / answers.std())


def test_one_of_four_decides_otherwise() -> None:
    expected = np.eye(4)
    actual = expected.copy()
    actual[2] = [1, 0, 0, 0]
    found = agree(expected, actual)
    assert found.top1_agreement == 0.75
    assert (found.cosine_mean, found.cosine_min) == (0.75, 0)


def test_maps_have_no_top1() -> None:
    found = agree(np.ones((3, 4, 2)), np.ones((3, 4, 2)))
    assert found.top1_agreement is None and found.margin is None


def test_zeros_agree_with_zeros_alone() -> None:
    """The logits of a head that is not trained yet."""
    expected, actual = np.zeros((2, 3)), np.array([[0.0, 0, 0], [0, 1, 0]])
    assert agree(expected, actual).cosine_mean == 0.5


def test_other_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        agree(np.ones((2, 3)), np.ones((2, 4)))


def test_bar() -> None:
    found = Agreement(200, 0.9995, 0.99, 0.98, 1.0)
    assert not shortfalls(found, Bar(0.999, 0.95))
    (line,) = shortfalls(found, Bar(0.999, 0.95, 0.985))
    assert line == "the top-1 is the model's for 98.0 % of 200 images where 98.5 % are required"
    (line,) = shortfalls(found, Bar(0.999, 0.995), "features")
    assert line.startswith("the lowest cosine of features with the model's is 0.99000")


def test_not_a_number_does_not_pass() -> None:
    found = agree(np.ones((1, 3)), np.array([[1, np.nan, 1]]))
    assert len(shortfalls(found, Bar(0.9, 0.9))) == 2


def test_there_and_back() -> None:
    found = agree(np.eye(3), np.eye(3))
    assert Agreement.from_dict(found.to_dict()) == found
