"""Resizes of position grids and patch kernels, against the codes that they come from."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import zoom

from keras_vit.errors import UsageError
from keras_vit.resize import resample_patch_kernel, resize_grid, resize_matrix

METHODS = ("bicubic_antialias", "bilinear_antialias", "bicubic", "bilinear", "linear_align_corners")
# It samples as if there were a tenth of a position more, so that nothing is symmetric.
WITH_OFFSET = (*METHODS, "bicubic_offset")
SIZES = [(14, 24), (24, 14), (7, 12), (16, 37), (5, 5), (1, 3), (3, 1), (2, 9), (9, 2)]
GRIDS = [((14, 14), (24, 24)), ((24, 24), (14, 14)), ((14, 14), (10, 21)), ((7, 12), (12, 7))]
KERNELS = [((16, 16), (32, 32)), ((16, 16), (8, 8)), ((16, 16), (14, 14)), ((8, 8), (12, 6))]


@pytest.mark.parametrize("method", WITH_OFFSET)
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_rows_sum_to_one_so_constants_stay(old: int, new: int, method: str) -> None:
    np.testing.assert_allclose(resize_matrix(old, new, method).sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), [pair for pair in SIZES if pair != (3, 1)])
def test_a_mirrored_axis_gives_the_mirrored_result(old: int, new: int, method: str) -> None:
    matrix = resize_matrix(old, new, method)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_length_is_the_identity(method: str) -> None:
    np.testing.assert_allclose(resize_matrix(7, 7, method), np.eye(7), atol=1e-12)


# By hand: the sample of new index 1 lies at 0.25 (half-pixel) or 1/3 (aligned corners) between the
# two old ones, and Keys' kernel with the coefficient a weighs the taps beyond the border as well.
@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("linear_align_corners", [2 / 3, 1 / 3]),
        ("bilinear", [0.75, 0.25]),
        ("bilinear_antialias", [0.75, 0.25]),
        ("bicubic", [-0.10546875 + 0.87890625, 0.26171875 - 0.03515625]),
        ("bicubic_antialias", [0.8671875 / 1.09375, 0.2265625 / 1.09375]),
    ],
)
def test_known_rows_of_two_to_four(method: str, row: list[float]) -> None:
    np.testing.assert_allclose(resize_matrix(2, 4, method)[1], row, atol=1e-12)


def test_shrinking_with_antialias_averages_what_the_others_skip() -> None:
    assert np.count_nonzero(resize_matrix(32, 8, "bicubic_antialias")[4]) > 8
    assert np.count_nonzero(resize_matrix(32, 8, "bicubic")[4]) == 4
    assert np.count_nonzero(resize_matrix(32, 8, "bilinear")[4]) == 2


@pytest.mark.parametrize("method", WITH_OFFSET)
def test_a_grid_is_resized_by_rows_and_columns(method: str) -> None:
    grid = np.random.default_rng(0).normal(size=(3, 5, 2))
    rows, columns = resize_matrix(3, 4, method), resize_matrix(5, 2, method)
    expected = np.einsum("hH,wW,HWd->hwd", rows, columns, grid)
    np.testing.assert_allclose(resize_grid(grid, (4, 2), method), expected, atol=1e-12)


@pytest.mark.parametrize("method", WITH_OFFSET)
def test_the_right_size_gives_the_same_object(method: str) -> None:
    grid, kernel = np.ones((3, 5, 2), np.float32), np.ones((4, 3, 3, 2), np.float32)
    assert resize_grid(grid, (3, 5), method) is grid
    assert resample_patch_kernel(kernel, (4, 3), method) is kernel


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_is_kept_and_the_result_is_contiguous(dtype: str) -> None:
    grid = resize_grid(np.ones((3, 3, 2), dtype), (5, 4), "bicubic")
    kernel = resample_patch_kernel(np.ones((4, 4, 3, 2), dtype), (8, 6), "bilinear")
    assert grid.dtype == kernel.dtype == dtype
    assert grid.flags.c_contiguous and kernel.flags.c_contiguous


@pytest.mark.parametrize("method", ["bicubic_antialias", "bilinear_antialias", "bilinear"])
def test_a_larger_kernel_gives_a_larger_patch_the_same_embedding(method: str) -> None:
    random = np.random.default_rng(1)
    patch, kernel = random.normal(size=(8, 6, 3)), random.normal(size=(8, 6, 3, 5))
    larger = resize_grid(patch, (16, 14), method)
    embedding = np.einsum("hwc,hwcd->d", larger, resample_patch_kernel(kernel, (16, 14), method))
    np.testing.assert_allclose(embedding, np.einsum("hwc,hwcd->d", patch, kernel), atol=1e-10)


@pytest.mark.parametrize("method", ["cubic", "", "BICUBIC"])
def test_an_unknown_method_is_refused_with_the_known_ones(method: str) -> None:
    with pytest.raises(UsageError, match="bicubic_antialias, bilinear_antialias"):
        resize_grid(np.ones((2, 2, 1)), (2, 2), method)


def test_impossible_sizes_and_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="length 0"):
        resize_matrix(3, 0, "bicubic")
    with pytest.raises(UsageError, match=r"\(H, W, D\)"):
        resize_grid(np.ones((1, 4, 4, 2)), (2, 2), "bicubic")
    with pytest.raises(UsageError, match="channels"):
        resample_patch_kernel(np.ones((4, 4, 2)), (2, 2), "bicubic")


# 24 -> 22, 28 -> 14 and 32 -> 16 are among the pairs where scipy's last sample rounds beyond the grid
# and becomes 0; see the module.
SCIPY_ZEROS = {(24, 22), (28, 14), (32, 16)}


@pytest.mark.parametrize(
    ("old", "new"), [*SIZES, (14, 16), (32, 24), (12, 24), (24, 32), *sorted(SCIPY_ZEROS)]
)
def test_linear_align_corners_is_scipy_zoom(old: int, new: int) -> None:
    grid = np.random.default_rng(2).normal(size=(old, old, 3))
    scipys = zoom(grid, (new / old, new / old, 1), order=1)
    ours = resize_grid(grid, (new, new), "linear_align_corners")
    kept = new - 1 if (old, new) in SCIPY_ZEROS else new
    np.testing.assert_allclose(ours[:kept, :kept], scipys[:kept, :kept], atol=1e-12)
    assert not scipys[kept:].any()


REFERENCE = """
import sys, numpy as np, torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed, resample_patch_embed

given, out = np.load(sys.argv[1]), {}
interpolate = {
    "bicubic_antialias": dict(mode="bicubic", antialias=True, align_corners=False),
    "bilinear_antialias": dict(mode="bilinear", antialias=True, align_corners=False),
    "bicubic": dict(mode="bicubic", align_corners=False),
    "bilinear": dict(mode="bilinear", align_corners=False),
    "linear_align_corners": dict(mode="bilinear", align_corners=True),
}
for name, array in given.items():
    kind, h, w = name.split("_")
    size = [int(h), int(w)]
    x = torch.from_numpy(array)
    if kind.startswith("grid"):
        for method, arguments in interpolate.items():
            resized = F.interpolate(x.permute(2, 0, 1)[None].double(), size, **arguments)
            out[f"{name}_{method}"] = resized[0].permute(1, 2, 0).numpy()
        factors = [(new + 0.1) / old for new, old in zip(size, x.shape)]  # dinov2, interpolate_pos_encoding
        grid = x.permute(2, 0, 1)[None].double()
        resized = F.interpolate(grid, scale_factor=factors, mode="bicubic")
        out[f"{name}_bicubic_offset"] = resized[0].permute(1, 2, 0).numpy()
        tokens = torch.cat([torch.zeros(1, 1, x.shape[2]), x.reshape(1, -1, x.shape[2])], 1)
        resized = resample_abs_pos_embed(tokens, size, list(x.shape[:2]))
        out[f"{name}_timm"] = resized[0, 1:].reshape(*size, -1).numpy()
    else:
        for method in ("bicubic_antialias", "bilinear"):
            mode, antialias = method.split("_")[0], method.endswith("antialias")
            resized = resample_patch_embed(x.permute(3, 2, 0, 1), size, mode, antialias)
            out[f"{name}_{method}"] = resized.permute(2, 3, 1, 0).numpy()
np.savez(sys.argv[2], **out)
"""


@pytest.fixture(scope="module")
def given() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    grids = {
        f"grid{i}_{new[0]}_{new[1]}": random.normal(size=(*old, 6))
        for i, (old, new) in enumerate(GRIDS)
    }
    kernels = {
        f"kernel{i}_{new[0]}_{new[1]}": random.normal(size=(*old, 3, 4))
        for i, (old, new) in enumerate(KERNELS)
    }
    return {name: array.astype(np.float32) for name, array in (grids | kernels).items()}


@pytest.fixture(scope="module")
def reference(
    given: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, np.ndarray]]:
    """What torch and timm make of `given`, computed in a process without TensorFlow."""
    folder: Path = tmp_path_factory.mktemp("resize")
    np.savez(folder / "given.npz", allow_pickle=False, **given)
    arguments = [str(folder / "given.npz"), str(folder / "out.npz")]
    subprocess.run([sys.executable, "-P", "-c", REFERENCE, *arguments], check=True)
    with np.load(folder / "out.npz") as out:
        yield dict(out)


@pytest.mark.parity
@pytest.mark.parametrize("method", WITH_OFFSET)
@pytest.mark.parametrize("case", range(len(GRIDS)))
def test_grids_equal_torch(given, reference, case: int, method: str) -> None:
    size = GRIDS[case][1]
    name = f"grid{case}_{size[0]}_{size[1]}"
    ours = resize_grid(given[name].astype(np.float64), size, method)
    np.testing.assert_allclose(ours, reference[f"{name}_{method}"], atol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("case", range(len(GRIDS)))
def test_grids_equal_timm(given, reference, case: int) -> None:
    size = GRIDS[case][1]
    name = f"grid{case}_{size[0]}_{size[1]}"
    ours = resize_grid(given[name], size, "bicubic_antialias")
    theirs = reference[f"{name}_timm"]
    # timm computes in float32; the test above compares in float64.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())


@pytest.mark.parity
@pytest.mark.parametrize("method", ["bicubic_antialias", "bilinear"])
@pytest.mark.parametrize("case", range(len(KERNELS)))
def test_kernels_equal_timm(given, reference, case: int, method: str) -> None:
    size = KERNELS[case][1]
    name = f"kernel{case}_{size[0]}_{size[1]}"
    theirs = reference[f"{name}_{method}"]
    ours = resample_patch_kernel(given[name], size, method)
    # timm inverts the matrix in float32.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())
