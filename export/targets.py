"""Where a file shall run: which formats a target takes, what it wants of them, which operators it has.

A row of `TARGETS` says it all. An operator outside `operators` is refused by name after the export; one
outside `fast` runs, but not on what the target is chosen for, and the report says which ones.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_vit.errors import ExportError, UsageError
from keras_vit.export.report import Comparison
from keras_vit.export.structure import examine, tensor_ranks

_FLOATS = ("float32", "float16")


def _operators(names: str) -> frozenset[str]:
    return frozenset(names.split())


# google-ai-edge/LiteRT f674577, tflite/delegates/gpu/common/model_builder.cc, NewOperationParser; less those
# on shapes and integers, and LSTM.
_GPU_DELEGATE = _operators(
    """ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D
    DEPTH_TO_SPACE DEQUANTIZE DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
    GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC MAXIMUM MAX_POOL_2D MEAN
    MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PAD PADV2 POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6
    RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN
    SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE
    TRANSPOSE TRANSPOSE_CONV UNPACK"""
)

# google-ai-edge/LiteRT f674577, tflite/delegates/xnnpack/xnnpack_delegate.cc, VisitNode; less variables.
_XNNPACK = _operators(
    """ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CEIL CONCATENATION CONV_2D COS DEPTHWISE_CONV_2D DEPTH_TO_SPACE
    DEQUANTIZE DIV ELU EXP EXPAND_DIMS FLOOR FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM
    MAX_POOL_2D MEAN MINIMUM MUL NEG PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE
    RESIZE_BILINEAR ROUND RSQRT SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQRT SQUARE SQUARED_DIFFERENCE
    STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV"""
)

# microsoft/onnxruntime 51f6177, js/web/docs/webgpu-operators.md, the rows of ai.onnx. GELU is com.microsoft's
# there: so opset 18, with the exact GELU in parts, which that runtime joins again.
_WEBGPU = _operators(
    """Abs Acos Acosh Add ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip
    Concat Conv ConvTranspose Cos Cosh Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements
    Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual If InstanceNormalization LayerNormalization
    LeakyRelu Less LessOrEqual Log MatMul MaxPool Mul Neg Not Pad Pow Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
    Reshape Resize Shape Sigmoid Sin Sinh Slice Softmax Split Sqrt Squeeze Sub Tan Tanh ThresholdedRelu Tile
    Transpose Unsqueeze Where"""
)

# The same runtime's WebAssembly build has its kernels for CPUs (docs/OperatorKernels.md); those that our
# writers need beside the ones above.
_WASM = _WEBGPU | _operators(
    """Constant ConvInteger DequantizeLinear DynamicQuantizeLinear Gelu Identity MatMulInteger Max Min
    QuantizeLinear Round TopK"""
)

# onnx/onnx-tensorrt 96e7811 (10.1 GA), docs/operators.md: rows marked Y, opsets 9 to 20.
_TENSORRT = _operators(
    """Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike
    Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace
    DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
    GroupNormalization HardSigmoid HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LRN LpNormalization LpPool MatMul Max MaxPool
    Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize Round Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose
    Trilu Unsqueeze Where Xor"""
)


@dataclass(frozen=True)
class Use:
    """How a target takes one format.

    Attributes:
        defaults: of `export_model`'s arguments that are left out.
        allowed: of some arguments, the only values that the target takes.
        operators: the only ones that it has; None is all of the format's.
        fast: those that run where the target's name says; None is all.
        rank: the most axes that a tensor may have; None is any number.
        static: whether the batch has to have a fixed size.
        notes: what the user should know.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    operators: Set[str] | None = None
    fast: Set[str] | None = None
    rank: int | None = None
    static: bool = False
    notes: tuple[str, ...] = ()


TARGETS: Mapping[str, Mapping[str, Use]] = {
    # Batches as they come, by TensorFlow Serving or onnxruntime.
    "server": {"savedmodel": Use(), "onnx": Use()},
    "mobile-cpu": {"tflite": Use(fast=_XNNPACK)},
    "mobile-gpu": {
        "tflite": Use(
            # The delegate takes no free batch, and has integers on the CPU.
            defaults={"input_dtype": "float32"},
            allowed={"input_dtype": ("float32",), "precision": _FLOATS},
            static=True,
            operators=_GPU_DELEGATE,
            rank=4,
            notes=(
                "the GPU delegate computes GELU exactly on OpenCL, and in its tanh form, up to 4.7e-4 "
                "away at each activation, on OpenGL",
            ),
        )
    },
    "browser": {
        "onnx": Use(
            defaults={"opset": 18},
            allowed={"opset": (17, 18), "attention": ("matmul",)},
            operators=_WASM,
            fast=_WEBGPU,
        ),
        # tensorflow/tfjs 0fc04d9, tfjs-tflite/README.md: TFLite's own kernels, the fast ones XNNPACK's.
        "tflite": Use(fast=_XNNPACK),
    },
    "tensorrt": {
        "onnx": Use(
            defaults={"layout": "nchw", "opset": 20},
            allowed={
                "layout": ("nchw",),
                "opset": (17, 18, 20),
                "attention": ("matmul",),
                "precision": _FLOATS,
            },
            operators=_TENSORRT,
        )
    },
}


def use_of(target: str | None, format: str) -> Use:
    """How a target takes a format; without a target, anything goes.

    Raises:
        UsageError: an unknown target, or one that does not take the format.
    """
    if target is None:
        return Use()
    if target not in TARGETS:
        raise UsageError(f"unknown target {target!r}; the targets are {', '.join(TARGETS)}")
    uses = TARGETS[target]
    if format not in uses:
        raise UsageError(f"target {target} takes {' or '.join(uses)}, not {format}")
    return uses[format]


def settle(target: str | None, use: Use, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `export_model`: the given ones, and the target's where they are None.

    Raises:
        UsageError: a value that the target does not take.
    """
    for name, values in use.allowed.items():
        if given.get(name) not in (None, *values):
            raise UsageError(
                f"target {target} takes {name}={' or '.join(map(repr, values))}, not {given[name]!r}"
            )
    if use.static and given.get("batch") == "dynamic":
        raise UsageError(f"target {target} takes a fixed batch size, not 'dynamic'")
    return {
        name: use.defaults.get(name) if value is None else value for name, value in given.items()
    }


def require_runnable(target: str | None, use: Use, path: Path, format: str) -> None:
    """Examine a file for what the target does not run.

    Raises:
        ExportError: it has some; a note says each further one.
    """
    first, *more = _problems(target, use, path, format) or [""]
    if first:
        error = ExportError(f"{path.name} was not written: {first}")
        for problem in more:
            error.add_note(problem)
        raise error


def _problems(target: str | None, use: Use, path: Path, format: str) -> list[str]:
    found = []
    if use.operators is not None:
        operators, _ = examine(path, format)
        found += [
            f"target {target} has no operator {name} (the file has {count})"
            for name, count in operators.items()
            if name not in use.operators
        ]
    if use.rank is not None:
        found += [
            f"target {target} takes tensors of at most {use.rank} axes, and {name} has {rank}"
            for name, rank in tensor_ranks(path).items()
            if rank > use.rank
        ]
    return found


def target_notes(
    target: str | None, use: Use, operators: Mapping[str, int], comparison: Comparison | None
) -> tuple[str, ...]:
    """What the user should know of a file for a target.

    Args:
        operators: how often each occurs in the file. comparison: of the file with the model.
    """
    found = []
    if use.defaults:
        chosen = ", ".join(f"{name}={value}" for name, value in use.defaults.items())
        drift = (
            f": {comparison.relative_difference:.1e} of the outputs' standard deviation from the model"
            if comparison
            else ""
        )
        found.append(f"written for {target} with {chosen}{drift}")
    if use.fast is not None:
        slow = {name: count for name, count in operators.items() if name not in use.fast}
        if slow:
            listed = ", ".join(f"{name} ({count})" for name, count in slow.items())
            found.append(f"on {target} these run on plain CPU kernels: {listed}")
    return (*found, *use.notes)
