"""LAM against a loop that does what the authors' demo does: CPU seconds a map, one thread, in one run.

    demo       one blurred input at a time, contiguous; the score on the whole output, then cut; gradients of the weights, too (the demo
               leaves them on); 50 steps
    paper      mode `paper` (the same numbers)
    accurate   20 midpoints
    averaged   12 midpoints with averaged gates: 1.2 times the error of 20 plain ones (docs/log.md), no gradient of the network
    crop       the same on the part of the input that the window can depend on (networks with a finite reach)

and 16 windows of one image against one. Image: 64 × 64 input pixels from `lam-reference` (scale 4), window of 16. CRAFT (attention) and
DnCNN (scale 1, 96 × 96) are reported beside the four networks of the bars. Needs the fixtures. Each variant is run `--rounds` times,
with the demo's loop just before and after it (on CRAFT a tenth of its steps, scaled: all cost the same): a virtual machine is
a tenth faster or slower from one minute to the next. A ratio is taken against the mean of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import common
import lam_accuracy
import numpy as np

NETWORKS = ("rlfn", "rfdn", "imdn", "carn_m", "craft", "dncnn")


def demo_loop(model: Any, image: Any, window: Any, steps: int) -> Any:
    """The demo's walk, from its description: the first `steps` of 50."""
    import torch

    from xlli_ray.probes.lam.path_points import BlurPath

    points, increments = BlurPath().demo_steps(image)
    total = torch.zeros_like(image)
    for k in range(steps):
        model.module.zero_grad()
        x = points[k : k + 1].clone().requires_grad_()
        output = model.forward(x)
        down = (output[..., :-1, :] - output[..., 1:, :]) ** 2
        across = (output[..., :, :-1] - output[..., :, 1:]) ** 2
        slope = torch.sqrt(down[..., :, :-1] + across[..., :-1, :])
        slope[..., window.top : window.top + window.size, window.left : window.left + window.size].sum().backward()
        assert x.grad is not None
        gradient = x.grad[0].detach().clone()
        gradient[torch.isnan(gradient)] = 0
        total += gradient * increments[k]
    return total


def timed(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from xlli_ray.engine.worker.environment import keep_freed_memory
    from xlli_ray.probes.lam.attribution import Rule, attribute
    from xlli_ray.probes.lam.path_points import BlurPath
    from xlli_ray.probes.lam.receptive_field import proved_radius
    from xlli_ray.probes.lam.window import Window

    keep_freed_memory()  # for the demo's loop, too
    reference = lam_accuracy.FIXTURES.parent / "lam-reference" / "RFDN_7_w120_h95_ws16.npz"
    rounds = args.rounds or (1 if args.quick else 3)
    rows, ratios = [], {}
    for name in args.networks.split(","):
        model = lam_accuracy.model(name)
        if model.scale == 1:
            image, window = lam_accuracy.case(name, lam_accuracy.PHOTOS[0])
            image = model.prepare(image[None])[0]
        else:
            image, window = torch.from_numpy(np.load(reference)["lr"]), Window(95, 120, 16)
        radius = proved_radius(model)
        steps = 5 if name == "craft" or args.quick else 50

        def demo(model: Any = model, image: Any = image, window: Any = window, steps: int = steps) -> None:
            model.module.requires_grad_(True)
            demo_loop(model, image, window, steps)
            model.module.requires_grad_(False)
            model.module.zero_grad(set_to_none=True)

        def ours(rule: Rule, reach: Any = None, windows: Any = (window,), model: Any = model, image: Any = image) -> Any:
            return attribute(model, image, list(windows), BlurPath(), rule=rule, radius=reach)

        variants: dict[str, Callable[[], Any]] = {
            "accurate": lambda: ours(Rule()), "paper": lambda: ours(Rule("paper")),
            "averaged": lambda: ours(Rule(nodes=12, gates="averaged")),
        }  # fmt: skip
        if radius is not None:
            variants["crop"] = lambda reach=radius: ours(Rule(), reach)  # type: ignore[misc]
            variants["averaged, crop"] = lambda reach=radius: ours(Rule(nodes=12, gates="averaged"), reach)  # type: ignore[misc]
        many = [Window(top, left, 16) for top in range(24, 232, 56) for left in range(24, 232, 56)] if model.scale == 4 else []
        sixteen = "16 windows, 4 nodes"
        if many and name != "craft":
            variants[sixteen] = lambda many=many: ours(Rule(nodes=4), None, many)  # type: ignore[misc]
        timed(lambda: ours(Rule(nodes=1)))  # warm
        timed(lambda: ours(Rule(nodes=2, gates="averaged")))
        taken: dict[str, list[float]] = {"demo": []}
        quotients: dict[str, list[float]] = {}
        for _ in range(rounds):
            before = 0.0
            for label, run in variants.items():
                if label == sixteen:
                    one, all_of_them = timed(lambda: ours(Rule(nodes=4))), timed(run)
                    taken.setdefault(label, []).append(all_of_them)
                    quotients.setdefault(label, []).append(all_of_them / one)
                    continue
                before = before or timed(demo) * 50 / steps
                taken.setdefault(label, []).append(timed(run))
                after = timed(demo) * 50 / steps
                taken["demo"].append(after)
                quotients.setdefault(label, []).append((before + after) / 2 / taken[label][-1])
                before = after
        for label in quotients:
            ratios[f"{name} {label}"] = common.spread(quotients[label])
            rows.append([name, label, common.spread(taken[label]), common.spread(quotients[label])])
        rows.append([name, "demo", common.spread(taken["demo"]), ""])
        common.show("CPU seconds a map, and how many times faster than the demo's loop (16 windows: cost in single windows)", rows,
                    ["network", "variant", "seconds", "ratio"])  # fmt: skip
    for label in ("accurate", "paper", "averaged"):
        some = [ratios[f"{n} {label}"]["median"] for n in NETWORKS[:4] if f"{n} {label}" in ratios]
        if some:
            print(f"{label}: median over networks {np.median(some):.2f}, least {min(some):.2f}")
    common.finish("lam", rounds=rounds, ratios=ratios)


if __name__ == "__main__":
    main()
