"""Maps of clips as image panels: which frames are shown, and what is marked in them."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.plots.palette import BLUE
from xlli_ray.plots.panel_values import image_layer
from xlli_ray.views.lam import Place
from xlli_ray.views.lam_clips import CENTROID, ClipPlace, clip_panels, frame_name, shown_frames

WINDOW = Place(16, 20, 8, 4, 24, 30)


@pytest.mark.parametrize(("frames", "current"), [(5, 2), (7, 0), (8, 4), (9, 8), (30, 15), (100, 3)])
def test_some_frames_of_a_long_clip_are_shown_and_the_explained_one_is_among_them(frames: int, current: int) -> None:
    shown = shown_frames(frames, current)
    assert current in shown
    assert len(shown) <= 7
    assert shown == sorted(set(shown))
    assert len(set(np.diff(shown).tolist())) == 1, "evenly spaced"
    assert 0 <= shown[0] <= shown[-1] < frames


def test_frames_are_named_by_their_distance() -> None:
    assert [frame_name(frame, 2) for frame in range(5)] == ["t − 2", "t − 1", "t", "t + 1", "t + 2"]


def test_the_window_moves_with_the_trajectory_and_the_centroid_is_a_pixel() -> None:
    path = np.array([[4.5, 3.5], [4.5, 5.5], [np.nan, np.nan]])
    centroids = np.array([[4.0, 9.0], [6.0, 2.0], [np.nan, np.nan]])
    place = ClipPlace(WINDOW, 1, np.array([0.25, 0.5, np.nan]), centroids, path)
    layer = (image_layer(np.zeros((24, 30, 3), np.uint8), side=60),)
    before, own, after = clip_panels(place, [layer] * 3, side=60)
    assert [(frame.left, frame.colour) for frame in before.frames] == [(3.0, BLUE), (9.0, CENTROID)]
    assert [(frame.top, frame.left, frame.height) for frame in own.frames] == [(4.0, 5.0, 2.0), (6.0, 2.0, 1.0)]
    assert after.frames == ()
    assert (before.note, own.note, after.note) == ("25 %, 5.5 px off", "50 %", "")
    without = clip_panels(ClipPlace(WINDOW, 1, place.shares, centroids), [layer] * 3, side=60)
    assert [len(panel.frames) for panel in without] == [1, 2, 0]
    assert without[0].note == "25 %"
