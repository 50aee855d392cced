"""Causal effect maps: closed forms, what no window can depend on, draws that stop, and what cannot be measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from xlli_ray.errors import NetworkError
from xlli_ray.models.model import ImageModel, Model, Range, frame_by_frame
from xlli_ray.probes.cem.columns import map_row
from xlli_ray.probes.cem.effects import WindowEffects, causal_effects
from xlli_ray.probes.cem.params import Draws
from xlli_ray.probes.cem.patch_pool import patch_pool
from xlli_ray.probes.cem.verdicts import EffectRule, judge
from xlli_ray.probes.lam.receptive_field import proved_radius
from xlli_ray.probes.lam.window import Window
from xlli_ray.stats.stratified_draws import mean_and_error, places, randoms_for, ranks

PLAIN = EffectRule(rounded=False)


class Blur(nn.Module):
    """A linear network of reach 2: a 5 × 5 filter of each channel."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.filter = nn.Conv2d(3, 3, 5, padding=2, groups=3, bias=False)
        self.filter.weight.data = kernel.expand(3, 1, 5, 5).clone()

    def forward(self, x: Tensor) -> Tensor:
        return self.filter(x)


def kernel(seed: int = 0) -> Tensor:
    values = torch.rand(5, 5, generator=torch.Generator().manual_seed(seed))
    return values / values.sum()


def network(module: nn.Module) -> Model:
    """A model of scale 1."""
    return ImageModel(
        id="toy", module=module.eval().requires_grad_(False), network="toy:toy", network_version=1, scale=1, channels=3,
        range=Range(0.0, 1.0), multiple=1, minimum=1, output="image", weights_sha256="0" * 64,
    )  # fmt: skip


def scene(side: int = 20, seed: int = 0, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """An input (3, side, side), and a target that differs from it a little."""
    rng = torch.Generator().manual_seed(seed)
    image = 0.2 + 0.6 * torch.rand(3, side, side, generator=rng)
    return image, (image + noise * torch.randn(image.shape, generator=rng)).clamp(0, 1)


def randoms(side: int = 20, block: int = 2, seed: int = 0) -> np.ndarray:
    count = -(-side // block)
    return np.random.default_rng(seed).random((count, count, randoms_for(64)))


def psnr(output: Tensor, target: Tensor, window: Window) -> float:
    error = float((window.cut(255 * output.clamp(0, 1)) - window.cut(255 * target)).double().square().mean())
    return 10 * float(np.log10(255**2 / error))


def test_the_effect_on_a_linear_network_is_the_mean_over_the_whole_pool_within_its_error() -> None:
    model, (image, target), pool = network(Blur(kernel())), scene(), patch_pool(2, 1, "clean", 400)
    window = Window(8, 8, 4)
    (found,) = causal_effects(model, image, [window], target, pool, randoms(), PLAIN)
    before = psnr(model.forward(image[None])[0], target, window)
    assert found.psnr == pytest.approx(before, abs=1e-4)
    for block in ((4, 4), (5, 4), (3, 3)):
        after = []
        for patch in pool:
            changed = image.clone()
            changed[:, 2 * block[0] : 2 * block[0] + 2, 2 * block[1] : 2 * block[1] + 2] = torch.tensor(patch)
            after.append(psnr(model.forward(changed[None])[0], target, window))
        truth = before - float(np.mean(after))
        assert found.decided[block] == np.sign(truth) != 0
        assert abs(found.effect[block] - truth) <= 4 * found.error[block]
    assert found.draws.max() <= PLAIN.most


def test_the_interval_covers_the_mean_over_the_pool_though_draws_stop_when_it_is_narrow() -> None:
    """Two thousand maps of one block of a nonlinear network, the stopping rule included."""
    module = nn.Sequential(Blur(kernel(1)), nn.ReLU(), Blur(kernel(2) - 0.03))
    model, (image, target), pool = network(module), scene(12, seed=3, noise=0.2), patch_pool(2, 1, "clean", 500)
    window, block = Window(4, 4, 4), (1, 2)
    values = np.zeros(len(pool))
    for k, patch in enumerate(pool):
        changed = image.clone()
        changed[:, 2:4, 4:6] = torch.tensor(patch)
        values[k] = psnr(model.forward(changed[None])[0], target, window)
    truth = psnr(model.forward(image[None])[0], target, window) - values.mean()
    effects = psnr(model.forward(image[None])[0], target, window) - values
    inside, used = 0, []
    for one in np.random.default_rng(0).random((2000, randoms_for(PLAIN.most))):
        count = PLAIN.first
        while True:
            at = places(one, count)
            mean, error = mean_and_error(effects[ranks(at, len(pool))][None], at[None])
            verdict, precise = judge(mean, error, count, PLAIN)
            if (verdict[0] != 2 and precise[0]) or count == PLAIN.most:
                break
            count *= 2
        inside += abs(mean[0] - truth) <= student.ppf(0.975, count - 1) * error[0]
        used.append(count)
    assert inside / 2000 >= 0.93
    assert min(used) < PLAIN.most
    (found,) = causal_effects(model, image, [window], target, pool, randoms(12), PLAIN)
    assert found.effect[block] == pytest.approx(truth, abs=5 * found.error[block])


def test_draws_that_rounding_hides_do_not_make_an_effect_certain() -> None:
    """The change of one value by one grey level, by as many draws; only rounded outputs have it."""
    faint = nn.Conv2d(3, 3, 5, padding=2, bias=False)
    with torch.no_grad():
        faint.weight.zero_()
        for c in range(3):
            faint.weight[c, c, 2, 2], faint.weight[c, c, 0, 0] = 1.0, 1e-5
    image, truth = torch.full((3, 16, 16), 100 / 255), torch.full((3, 16, 16), 98 / 255)
    window, pool = Window(6, 6, 4), patch_pool(2, 1, "clean", 200)
    rounded, exact = (
        causal_effects(network(faint), image, [window], truth, pool, randoms(16), EffectRule(rounded=given))[0] for given in (True, False)
    )
    block = (2, 2)  # read by the window with weight 1e-5 only
    assert rounded.effect[block] == 0 < abs(exact.effect[block])
    one_level = 10 * np.log10(1 + (2 * 2 + 1) / (48 * 2**2))
    assert rounded.error[block] == pytest.approx(one_level / rounded.draws[block], rel=1e-9)
    assert abs(exact.effect[block]) <= student.ppf(0.975, rounded.draws[block] - 1) * rounded.error[block]
    assert 0 < exact.error[block] < 0.05 * rounded.error[block]


class Reads(nn.Module):
    """An output that shows one input pixel everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 7:8, 10:11].expand(x.shape).clone()


def test_a_network_that_reads_one_pixel_depends_on_that_block_only() -> None:
    image, target = scene()
    for rule in (EffectRule(), PLAIN):
        (found,) = causal_effects(network(Reads()), image, [Window(2, 2, 6)], target, patch_pool(2, 1, "clean", 200), randoms(), rule)
        assert np.argwhere(found.effect != 0).tolist() == [[3, 5]]
        assert np.argwhere(found.decided != 0).tolist() == [[3, 5]]
    assert np.argwhere(found.error != 0).tolist() == [[3, 5]]
    assert (found.decided != 0).sum() == 1
    assert (found.draws >= 4).all(), "nothing proves that the others do not matter: they were tried"


def test_beyond_a_proved_reach_effects_are_exactly_0_without_a_forward_pass_and_a_crop_changes_nothing() -> None:
    model, (image, target), pool = network(Blur(kernel())), scene(40), patch_pool(2, 1, "clean", 200)
    radius = proved_radius(model)
    assert radius is not None
    window = Window(10, 14, 6)
    (cropped,) = causal_effects(model, image, [window], target, pool, randoms(40), PLAIN, radius=radius)
    (whole,) = causal_effects(model, image, [window], target, pool, randoms(40), PLAIN)
    assert cropped.draws.sum() < whole.draws.sum() / 2
    outside = np.ones((20, 20), bool)
    outside[4:9, 6:11] = False  # rows 8 … 17 and columns 12 … 21 are what the window sees
    assert not cropped.draws[outside].any()
    assert not cropped.effect[outside].any()
    assert not whole.effect[outside].any()
    np.testing.assert_allclose(cropped.effect, whole.effect, atol=1e-4)


def test_windows_that_share_passes_have_the_maps_that_they_have_alone() -> None:
    model, (image, target), pool = network(Blur(kernel())), scene(), patch_pool(3, 1, "clean", 200)
    windows = [Window(2, 2, 5), Window(9, 11, 6)]
    rule = EffectRule(rounded=False, rows=1)
    together = causal_effects(model, image, windows, target, pool, randoms(block=3), rule)
    for window, shared in zip(windows, together):
        (alone,) = causal_effects(model, image, [window], target, pool, randoms(block=3), rule)
        assert np.array_equal(alone.effect, shared.effect)
        assert np.array_equal(alone.draws, shared.draws)


def test_the_corruption_that_is_kept_falls_on_the_patches() -> None:
    """A network that returns its input, rain on a black image: with the rain kept, black patches change nothing."""
    image, target = torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)
    image[:, 2:4] = 0.5
    target[0, 0, 0] = 0.1
    pool = np.zeros((64, 3, 2, 2), np.float32)
    (kept,) = causal_effects(
        network(nn.Identity()), image, [Window(0, 0, 6)], target, pool, randoms(8), PLAIN, corruption=image - torch.zeros_like(image)
    )
    (bare,) = causal_effects(network(nn.Identity()), image, [Window(0, 0, 6)], target, pool, randoms(8), PLAIN)
    assert not kept.effect.any()
    assert (bare.effect[1, :3] < 0).all(), "without its rain the window would be better"


def test_a_perfect_window_has_no_effects_and_a_constant_image_has() -> None:
    model, pool = network(Blur(kernel())), patch_pool(2, 1, "clean", 100)
    image, target = scene()
    (perfect,) = causal_effects(network(nn.Identity()), image, [Window(4, 4, 6)], image, pool, randoms(), EffectRule())
    assert np.isinf(perfect.psnr)
    assert np.isnan(perfect.effect).all()
    row = map_row(perfect, index=0, side=2, scale=1, corruption="none")
    assert row["undefined"]
    assert row["helping"] == row["neutral"] == row["draws"] == 0
    assert np.isnan(row["area"])
    flat = torch.full_like(image, 0.5)
    (found,) = causal_effects(model, flat, [Window(4, 4, 6)], target, pool, randoms(), EffectRule())
    assert np.isfinite(found.effect).all()
    assert (found.decided == 1).any()


def test_a_patch_that_makes_the_window_perfect_does_not_make_its_effect_infinite() -> None:
    image, target = scene(8, noise=0.0)
    image = image.clone()
    image[:, 2:4, 2:4] = 0.9
    truth = target.clone()
    truth[:, 2:4, 2:4] = 0.0
    pool = np.zeros((64, 3, 2, 2), np.float32)
    (found,) = causal_effects(network(nn.Identity()), image, [Window(2, 2, 2)], truth, pool, randoms(8), EffectRule())
    assert found.decided[1, 1] == -1
    assert np.isfinite(found.effect).all()


def test_a_clip_has_a_map_for_each_frame() -> None:
    model = frame_by_frame(network(Blur(kernel())))
    frames = [scene(12, seed) for seed in range(3)]
    clip, target = torch.stack([image for image, _ in frames]), frames[1][1]
    begin = np.random.default_rng(0).random((3, 6, 6, randoms_for(64)))
    (found,) = causal_effects(model, clip, [Window(4, 4, 4)], target, patch_pool(2, 1, "clean", 100), begin, PLAIN, frame=1)
    assert found.effect.shape == (3, 6, 6)
    assert found.effect[1].any()
    assert not found.effect[0].any(), "frame by frame no output depends on another frame"
    assert not found.effect[2].any()


def test_what_cannot_be_measured_says_why() -> None:
    model, (image, target), pool = network(Blur(kernel())), scene(), patch_pool(2, 1, "clean", 100)
    with pytest.raises(NetworkError, match=r"window \(top 18, left 2, size 6\) is outside the output"):
        causal_effects(model, image, [Window(18, 2, 6)], target, pool, randoms(), PLAIN)
    with pytest.raises(NetworkError, match="not finite"):
        causal_effects(model, image * float("nan"), [Window(2, 2, 6)], target, pool, randoms(), PLAIN)
    with pytest.raises(NetworkError, match="the label 'medium-rain' does not say how"):
        patch_pool(2, 1, "medium-rain", 100)
    with pytest.raises(NetworkError, match="use smaller blocks"):
        patch_pool(900, 1, "clean", 100)


def test_the_pool_is_degraded_as_the_inputs_are_and_ordered_by_luma() -> None:
    clean, noisy = patch_pool(4, 2, "clean", 500), patch_pool(4, 2, "noise30", 500)
    for pool in (clean, noisy):
        luma = pool.mean(axis=(2, 3)) @ np.array([0.299, 0.587, 0.114])
        assert (np.diff(luma) >= -1e-6).all()
        assert not pool.flags.writeable
    assert noisy.std(axis=(2, 3)).mean() > 1.5 * clean.std(axis=(2, 3)).mean()
    assert patch_pool(4, 2, "clean", 500) is clean


def test_counts_ranges_and_shares_of_a_map() -> None:
    effect = np.zeros((5, 5))
    effect[2, 2], effect[2, 4], effect[0, 2] = 3.0, 0.5, -0.25
    decided = np.sign(effect).astype(np.int64)
    decided[4, 4] = 2
    found = WindowEffects(Window(8, 8, 4), 30.0, effect, np.full((5, 5), 0.01), np.full((5, 5), 4), decided)
    row = map_row(found, index=1, side=2, scale=2, corruption="none")
    assert (row["helping"], row["harming"], row["neutral"], row["undecided"]) == (2, 1, 21, 1)
    assert row["range"] == 3.0  # the window is rows and columns 4 … 6 of the input, the middle of column 4 at 9
    assert (row["strongest"], row["most_harmful"]) == (0.5, -0.25)
    assert row["harm_share"] == pytest.approx(0.25 / 3.75)
    assert row["area"] == 3 / 25
    assert row["draws"] == 100


@pytest.mark.parametrize(("given", "first", "most"), [({}, 8, 16), ({"most": 4}, 4, 4), ({"most": 64}, 8, 64), ({"first": 32}, 32, 32)])
def test_of_the_fewest_and_the_most_draws_one_is_enough(given: dict[str, int], first: int, most: int) -> None:
    draws = Draws(**given)
    assert (draws.first, draws.most) == (first, most)
