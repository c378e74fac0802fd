"""What a network sees, and how it is called."""

import math

import pytest
import torch

from ddpm.denoisers import call_network, check_images, to_model_range, to_uint8

X = torch.zeros(2, 3, 4, 4)
TIMES = torch.tensor([1, 2])


# ------------------------------------------------------------------------------------------ images
def test_all_256_values_come_back():
    values = torch.arange(256, dtype=torch.uint8)
    floats = to_model_range(values)
    assert floats.dtype == torch.float32 and floats[0] == -1 and floats[-1] == 1
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert torch.equal(to_uint8(floats.to(dtype)), values)
    torch.testing.assert_close(floats.double(), values.double() / 127.5 - 1, rtol=0, atol=1e-7)


def test_values_outside_are_clamped_and_others_refused():
    assert to_uint8(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]
    for wrong in (torch.tensor([math.nan]), torch.tensor([1])):
        with pytest.raises(ValueError, match="expected floats"):
            to_uint8(wrong)
    with pytest.raises(ValueError, match="uint8"):
        to_model_range(torch.zeros(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [-1, 1])
def test_rounding_is_no_fault_and_any_fault_shows_in_the_message(sign, dtype):
    images = X.to(dtype)
    check_images(images + sign * (1 + 5e-6))
    for excess in (1.1e-5, 1e-4, 0.1):
        wrong = images.clone()
        wrong[1, 0, 2, 3] = sign * (1 + excess)
        with pytest.raises(ValueError, match=r"expected \[-1, 1\]: rescale") as caught:
            check_images(wrong)
        low, high = str(caught.value).split("[")[1].split("]")[0].split(", ")
        assert (low if sign < 0 else high) == f"{sign * (1 + excess):.7g}"


def test_values_that_are_not_finite_are_counted_and_named():
    for value in (math.nan, math.inf, -math.inf):
        wrong = X.clone()
        wrong[0, 0, 0, :3] = value
        for limit in (1.0, math.inf):
            with pytest.raises(ValueError, match=rf"3 of 96 values .* not finite, such as {value}"):
                check_images(wrong, limit=limit)


def test_what_may_be_is_said_by_the_caller():
    check_images(X + 7, limit=math.inf)
    known = torch.zeros(4, 4, dtype=torch.bool)
    known[0] = True
    partly = torch.where(known, X, X + 7)
    check_images(partly, known=known)
    with pytest.raises(ValueError, match=r"lie in \[7, 7\]"):
        check_images(partly, known=~known)
    for flat in (X[0, 0], X[..., 0], X[:, :, :0]):
        check_images(flat)
        with pytest.raises(ValueError, match=r"of shape .*expected floats \(B, C, H, W\)"):
            check_images(flat, flat=False)
    check_images(X[:0], flat=False, empty=True)
    with pytest.raises(ValueError, match=r"no image.*\(0, 3, 4, 4\).*at least one"):
        check_images(X[:0], empty=False)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[0.0]], "a list"),
        (X.int(), "torch.int32"),
        (X.byte(), "torch.uint8"),
        (X[0, 0, 0], "(4,)"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(ValueError) as caught:
        check_images(images)
    assert message in str(caught.value) and "expected floats" in str(caught.value)


# ------------------------------------------------------------------------------------------ a call
def test_labels_are_passed_only_where_there_are_any():
    calls = []

    def model(x, t, **kwargs):
        calls.append(kwargs)
        return x

    call_network(model, X, TIMES, None, learned_variance=False)
    call_network(model, X, TIMES, TIMES, learned_variance=False)
    assert calls[0] == {} and torch.equal(calls[1]["labels"], TIMES)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 4), (2, 9, 4, 4), (2, 3)])
@pytest.mark.parametrize("learned", [True, False])
def test_other_shapes_are_refused(shape, learned):
    with pytest.raises(ValueError, match="expected"):
        call_network(lambda x, t: torch.zeros(shape), X, TIMES, None, learned)


def test_a_learned_variance_needs_twice_the_channels():
    with pytest.raises(ValueError, match=r"\(2, 6, 4, 4\) with a learned variance"):
        call_network(lambda x, t: x, X, TIMES, None, learned_variance=True)
