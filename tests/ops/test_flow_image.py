"""Flow as pictures: bytes by hand, there and back, colours and arrows."""

import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.ops import flow_image


def test_bytes_by_hand():
    flow = np.float32([[0, 0], [4, 0], [-4, 3], [-8, 8], [99, -99]])
    expected = [[128, 128, 0], [192, 128, 90], [64, 176, 113], [1, 255, 255], [255, 1, 255]]
    np.testing.assert_array_equal(flow_image.to_image(flow, 8.0), expected)


@pytest.mark.parametrize("bound", [0.5, 15.0])
def test_there_and_back(bound):
    flow = np.random.default_rng(0).uniform(-bound, bound, (3, 4, 5, 2)).astype(np.float32)
    image = flow_image.to_image(flow, bound)
    assert image.shape == (3, 4, 5, 3) and image.dtype == np.uint8
    back = flow_image.from_image(image, bound)
    np.testing.assert_allclose(back, flow, atol=bound / 254 * 1.001)
    np.testing.assert_array_equal(flow_image.to_image(back, bound)[..., :2], image[..., :2])
    magnitude = np.asarray(image[..., 2]) / 255 * np.sqrt(2) * bound
    np.testing.assert_allclose(magnitude, np.linalg.norm(flow, axis=-1), atol=bound * 0.003)
    with pytest.raises(UserError, match="bound: expected pixels above 0, found 0"):
        flow_image.to_image(flow, 0)


def test_colours_of_directions():
    right, down, left, up = flow = np.float32([[2, 0], [0, 2], [-2, 0], [0, -2]])
    np.testing.assert_array_equal(flow_image.wheel(right, 2), [255, 0, 0])
    np.testing.assert_array_equal(flow_image.wheel(left, 2), [0, 255, 255])
    np.testing.assert_array_equal(flow_image.wheel(down, 2), [128, 255, 0])
    np.testing.assert_array_equal(flow_image.wheel(up, 2), [128, 0, 255])
    np.testing.assert_array_equal(flow_image.wheel(0 * flow, 2), 255)
    np.testing.assert_array_equal(flow_image.wheel(right, 4), [255, 128, 128])
    np.testing.assert_array_equal(flow_image.wheel(9 * right, 4), [255, 0, 0])


def test_arrows_are_drawn_where_things_go():
    frame, flow = np.full((16, 24, 3), 100, np.uint8), np.zeros((16, 24, 2), np.float32)
    still = flow_image.arrows(frame, flow)
    assert still.shape == (64, 96, 3)
    flow[4, 12] = 5, 0  # the arrow that starts at this pixel
    drawn = np.argwhere((flow_image.arrows(frame, flow) != still).any(-1))
    assert drawn[:, 1].min() > 12 * 4 and drawn[:, 1].max() == 12 * 4 + 2 + 20
    assert abs(drawn[:, 0].mean() - 4 * 4 - 2) < 1
    flow[:] = 500, -500  # all of them leave the picture
    assert flow_image.arrows(frame, flow).shape == (64, 96, 3)
