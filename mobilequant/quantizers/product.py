"""The product of two affine quantized matrices: one integer product, two rank-one corrections."""

from __future__ import annotations

from keras import ops


def affine_matmul(x_integers, x_scale, x_offset, w_integers, w_scale, w_offset, *, block=None):
    """X̃·W̃ of the dequantized X̃ = s_X·Q_X + b_X and W̃ = s_W·Q_W + b_W, computed on integers.

    arXiv:2409.09245: with the mean of g, x̄ = s_X·q̄_X + b_X, and inner size n,
    X̃W̃ = (s_X s_Wᵀ) ⊙ (Q_X Q_W − n·q̄_X q̄_Wᵀ) + n·x̄ w̄ᵀ. Where blocks of the inner dimension have
    scales of their own, each block is such a product and they add up.

    Args:
        x_integers: int32 (or whole float) matrix (rows, n).
        x_scale, x_offset: float32, one a row (rows, 1), one for all (1, 1), or, with `block`, one
            a row and block (rows, blocks).
        w_integers: int32 (or whole float) matrix (n, columns).
        w_scale, w_offset: float32, one a column (1, columns), one for all (1, 1), or, with
            `block`, one a block and column (blocks, columns).
        block: Size of the blocks of the inner dimension; the last may be shorter.

    Returns:
        float32 matrix (rows, columns).

    Raises:
        ValueError: These are no matrices, their inner sizes differ, or a scale or an offset has
            another shape.
    """
    shapes = tuple(x_integers.shape), tuple(w_integers.shape)
    if [len(shape) for shape in shapes] != [2, 2]:
        raise ValueError(f"affine_matmul: multiplies matrices, not {shapes[0]} times {shapes[1]}.")
    (rows, inner), (w_inner, columns) = shapes
    if w_inner != inner:
        raise ValueError(f"affine_matmul: inner sizes differ, {shapes[0]} times {shapes[1]}.")
    if block is not None and block < 1:
        raise ValueError(f"affine_matmul: block must be at least 1, not {block}.")
    size = block or inner
    starts = range(0, inner, size)
    for name, values, allowed in (
        ("x_scale", x_scale, ((1, rows), (1, len(starts)))),
        ("x_offset", x_offset, ((1, rows), (1, len(starts)))),
        ("w_scale", w_scale, ((1, len(starts)), (1, columns))),
        ("w_offset", w_offset, ((1, len(starts)), (1, columns))),
    ):
        _check_shape(name, tuple(values.shape), allowed, len(starts))
    total = 0.0
    for index, start in enumerate(starts):
        rows, columns = (
            x_integers[:, start : start + size],
            w_integers[start : start + size],
        )
        total = total + _product(
            rows,
            _of_block(x_scale, 1, index),
            _of_block(x_offset, 1, index),
            columns,
            _of_block(w_scale, 0, index),
            _of_block(w_offset, 0, index),
        )
    return total


def _check_shape(name, shape, allowed, blocks):
    if len(shape) != 2:
        raise ValueError(f"affine_matmul: {name} has shape {shape}; it must be a matrix.")
    for axis, sizes in enumerate(allowed):
        if shape[axis] not in sizes:
            raise ValueError(
                f"affine_matmul: {name} has shape {shape}; dimension {axis} must be 1 or "
                f"{sizes[1]} (of {blocks} blocks)."
            )


def _product(x, x_scale, x_offset, w, w_scale, w_offset):
    inner = float(x.shape[1])
    product = ops.cast(ops.matmul(ops.cast(x, "int32"), ops.cast(w, "int32")), "float32")
    x_mean = ops.mean(ops.cast(x, "float32"), axis=1, keepdims=True)
    w_mean = ops.mean(ops.cast(w, "float32"), axis=0, keepdims=True)
    centred = product - inner * ops.matmul(x_mean, w_mean)
    means = ops.matmul(x_scale * x_mean + x_offset, w_scale * w_mean + w_offset)
    return x_scale * centred * w_scale + inner * means


def _of_block(values, axis, index):
    index = index if values.shape[axis] > 1 else 0
    return values[:, index : index + 1] if axis else values[index : index + 1]
