"""The NumPy references against PyTorch's autograd and ONNX Runtime."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from relu_pipeline.activations import CATALOGUE, prelu_slope_derivative
from relu_pipeline.config import ActivationName

# Not the largest float32: PyTorch's GELU doubles its input on the way, and overflows.
EXTREMES = [0.0, -0.0, 6.0, 1e-45, -1e-45, 1e-30, -1e-30, 88.8, -88.8, 104.0, -104.0, 800.0, -800.0, 1e38, -1e38]
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-12}
each_activation = pytest.mark.parametrize("name", CATALOGUE)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
values = st.floats(-50, 50, width=32) | st.sampled_from(EXTREMES)


def by_torch(name: ActivationName, x: NDArray) -> tuple[NDArray, NDArray]:
    """Outputs and derivatives."""
    inputs = torch.from_numpy(x).requires_grad_()
    outputs = CATALOGUE[name].module().to(inputs.dtype)(inputs)
    outputs.sum().backward()
    return outputs.detach().numpy(), inputs.grad.numpy()


@each_dtype
@each_activation
@given(data=st.data())
def test_function_and_derivative_are_pytorchs_without_a_warning(
    name: ActivationName, dtype: type, data: st.DataObject
) -> None:
    x = data.draw(arrays(np.float32, st.integers(1, 8), elements=values)).astype(dtype)
    expected, expected_derivative = by_torch(name, x)
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        found, derivative = CATALOGUE[name].function(x), CATALOGUE[name].derivative(x)
    assert found.dtype == derivative.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(derivative, expected_derivative, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@each_dtype
@each_activation
def test_nan_gives_nan_and_infinity_the_limit(name: ActivationName, dtype: type) -> None:
    x = np.array([np.nan, np.inf, -np.inf], dtype=dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found, derivative = CATALOGUE[name].function(x), CATALOGUE[name].derivative(x)
    assert np.isnan(found[0])
    assert np.isnan(derivative[0])
    assert np.isnan(by_torch(name, x)[0][0])
    assert found[1] == CATALOGUE[name].upper
    assert found[2] == CATALOGUE[name].lower or name in {"gelu", "silu"}
    assert derivative[1] == (0 if np.isfinite(CATALOGUE[name].upper) else 1)


@each_activation
@given(x=arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)))
def test_outputs_stay_within_the_bounds(name: ActivationName, x: NDArray) -> None:
    found = CATALOGUE[name].function(x)
    assert np.all(found >= CATALOGUE[name].lower)
    assert np.all(found <= CATALOGUE[name].upper)


def test_the_derivative_of_relu_at_0_is_0() -> None:
    assert CATALOGUE["relu"].derivative(np.array([0.0])).tolist() == [0.0]


@given(x=arrays(np.float64, 8, elements=st.floats(-50, 50)))
def test_a_prelus_slope_has_pytorchs_gradient(x: NDArray) -> None:
    module = torch.nn.PReLU().double()
    module(torch.from_numpy(x)).sum().backward()
    assert module.weight.grad.item() == pytest.approx(prelu_slope_derivative(x).sum())


@each_activation
def test_onnx_runtime_answers_as_the_reference(name: ActivationName) -> None:
    from onnxruntime import InferenceSession

    x = np.linspace(-20, 20, 401, dtype=np.float32)[None]
    program = torch.onnx.export(
        CATALOGUE[name].module().eval(), (torch.from_numpy(x),), dynamo=True, verbose=False, opset_version=20
    )
    session = InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, CATALOGUE[name].function(x), atol=2e-6)
