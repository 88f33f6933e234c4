"""Parts and tables by themselves: no model here."""

import csv
import json

import pytest

from keras_vit.bulk.inputs import inputs
from keras_vit.bulk.outputs import require_table, shard_path
from keras_vit.bulk.parts import Parts
from keras_vit.bulk.tables import columns, write
from keras_vit.errors import KerasVitError, UsageError

JOB = {"model": "m", "images": 3}
ROWS = [
    {"image": "ä, 1.png", "label_1": 'a "b"', "probability_1": 0.25},
    {"image": "2.png", "error": "2.png: not a readable image"},
]


@pytest.fixture
def parts(tmp_path):
    parts = Parts(tmp_path / "t.csv")
    with parts.locked():
        yield parts


def test_rows_come_back_in_their_order(parts):
    parts.begin(JOB, anew=False)
    parts.add(1, ROWS[1:])
    assert not parts.has(0) and parts.has(1)
    parts.add(0, ROWS[:1])
    assert list(parts.rows([1, 1])) == ROWS


def test_the_same_job_goes_on(parts):
    parts.begin(JOB, anew=False)
    parts.add(0, ROWS)
    parts.begin(JOB, anew=False)
    assert parts.has(0)


def test_another_job_is_refused_and_begins_anew_when_asked(parts):
    parts.begin(JOB, anew=False)
    parts.add(0, ROWS)
    with pytest.raises(
        UsageError, match="another job: images is 3 there and 4 here; pass overwrit"
    ):
        parts.begin({**JOB, "images": 4}, anew=False)
    parts.begin({**JOB, "images": 4}, anew=True)
    assert not parts.has(0)


@pytest.mark.parametrize("content", ["", '{"image": "1"}\n', '{"image": "1"\n{"image": "2"}\n'])
def test_a_damaged_part_is_one_line(parts, content):
    parts.begin(JOB, anew=False)
    (parts.folder / "00000000.jsonl").write_text(content)
    with pytest.raises(KerasVitError, match=r"00000000\.jsonl"):
        list(parts.rows([2]))


def test_a_second_process_is_refused(parts):
    with pytest.raises(UsageError, match="another process is at work there"), parts.locked():
        pass


def test_nothing_is_left(parts, tmp_path):
    parts.begin(JOB, anew=False)
    parts.add(0, ROWS)
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_csv(tmp_path):
    write(tmp_path / "t", ".csv", columns(1), ROWS)
    with (tmp_path / "t").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"image": "ä, 1.png", "label_1": 'a "b"', "probability_1": "0.25", "error": ""},
            {"image": "2.png", "label_1": "", "probability_1": "", "error": ROWS[1]["error"]},
        ]


def test_json_lines(tmp_path):
    write(tmp_path / "t", ".jsonl", columns(1), ROWS)
    assert [json.loads(line) for line in (tmp_path / "t").read_text().splitlines()] == ROWS


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "t", ".parquet", columns(1), ROWS)
    table = parquet.read_table(tmp_path / "t")
    empty = dict.fromkeys(columns(1))
    assert table.to_pylist() == [{**empty, **row} for row in ROWS]
    assert table.schema.field("probability_1").type == "float"


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for path in paths:
        path.touch()
    return paths


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_all_images_once(files, count):
    found = [inputs(files).shard(i, count) for i in range(count)]
    assert [path for shard in found for path in shard.images] == files
    assert {len(shard) for shard in found} <= {7 // count, 7 // count + 1}


def test_an_image_that_comes_twice_is_misuse(files):
    with pytest.raises(UsageError, match=r"3\.png is among the images twice"):
        inputs([*files, files[3]])


def test_other_images_have_another_fingerprint(files):
    prints = {inputs(files).fingerprint(), inputs(files[:-1]).fingerprint()}
    assert len(prints) == 2


def test_every_worker_has_a_file(tmp_path):
    path = shard_path(tmp_path / "a.parquet", (1, 12))
    assert path == tmp_path / "a-00001-of-00012.parquet"
    with pytest.raises(UsageError, match="shard is"):
        shard_path(tmp_path / "a.csv", (2, 2))


def test_a_table_that_exists_is_kept_but_for_its_own_parts(tmp_path, parts):
    parts.output.write_text("precious")
    with pytest.raises(UsageError, match=r"t\.csv exists"):
        require_table(parts.output, (0, 1), False)
    parts.begin(JOB, anew=False)
    require_table(parts.output, (0, 1), False)
