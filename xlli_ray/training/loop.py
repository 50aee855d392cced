"""Training of one network: the loop, its checkpoints, and the guarantee that a resumed run equals an uninterrupted one.

Adam (beta 0.9, 0.99), linear warm-up, cosine decay to a fraction of the learning rate, clipped gradient norm, and an exponential
moving average of the weights, which is scored and kept. Everything that the next iteration depends on is in
`checkpoint.pt`: weights, averages, optimizer, the loss not yet logged, and the iteration. Crops are keyed by (seed,
iteration), so there is no sampler to restore. On a CPU with the same software, device model and `threads`, the same
recipe gives the same bytes, interrupted or not; on a GPU it does not, since its convolutions sum in varying order.
"""

from __future__ import annotations

import copy
import inspect
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError, RecipeError, WeightsError
from xlli_ray.models.blocks.motion import Motion
from xlli_ray.models.checkpoint import weights_sha256
from xlli_ray.training.data import Batch, CropSource
from xlli_ray.training.folder import CHECKPOINT, LOG, Folder, LocalFolder
from xlli_ray.training.gan import Adversary
from xlli_ray.training.identity import identity_from, identity_of
from xlli_ray.training.optimizer import Adam
from xlli_ray.training.recipe import Job
from xlli_ray.training.steps import BETAS, build_network, learning_rate, seed_of

LOG_EVERY = 50  # iterations
EPSILON = 1e-3
"""Of the Charbonnier loss (W.-S. Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution", CVPR 2017)."""
LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda difference: difference.abs().mean(),
    "l2": lambda difference: difference.square().mean(),
    "charbonnier": lambda difference: (difference.square() + EPSILON**2).sqrt().mean(),
}
"""Loss of output - target."""
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Progress:
    """Progress of one training. `rate`: iterations per second of this process; `eta`: seconds left at that rate."""

    id: str
    iteration: int
    iterations: int
    loss: float
    rate: float
    eta: float
    validation: Mapping[str, float]

    @property
    def line(self) -> str:
        """For a terminal: `gr-clean  4000/10000  loss 0.0273  9.8 it/s  10 min left  psnr_y 30.84`."""
        left = f"{self.eta / 60:.0f} min left" if self.eta >= 90 else f"{self.eta:.0f} s left"
        scores = "".join(f"  {name} {score:.2f}" for name, score in self.validation.items())
        return (
            f"{self.id}  {self.iteration}/{self.iterations}  loss {self.loss:.4f}  {self.rate:.1f} it/s  {left}{scores}"
        )


def device_of(wanted: str, assigned: str | None) -> torch.device:
    """The device of a training: the one that the recipe names, and for `auto` that of the process. A worker that was assigned a GPU sees no
    other, so there a number is not meant."""
    if assigned is not None and wanted.partition(":")[0] in ("auto", assigned.partition(":")[0]):
        return torch.device(assigned)
    return torch.device(wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


class Trainer:
    """One network in training.

    `folder` receives `checkpoint.pt` and `log.jsonl`; if it holds a checkpoint of the same recipe, training resumes.
    `init`: initial weights, instead of random ones. `validate`: called with the averaged network every `validate.every`
    iterations and at the end, returns named scores for the log; nothing else depends on them. `device`: that of this process, if it was
    assigned one (`device_of`).
    """

    def __init__(
        self, job: Job, crops: CropSource, folder: Folder | Path, *, init: Mapping[str, Tensor] | None = None,
        validate: Callable[[nn.Module], dict[str, float]] | None = None, device: str | None = None,
    ) -> None:  # fmt: skip
        self.job, self._crops, self._validate = job, crops, validate
        self._folder = LocalFolder(folder) if isinstance(folder, Path) else folder
        self._lines: list[dict[str, Any]] = []
        """Lines of the log so far."""
        train = job.train
        self._device = device_of(train.device, device)
        if train.precision == "fp16" and self._device.type == "cpu":
            raise RecipeError("train.precision fp16 is for GPUs; on a CPU use fp32, or bf16 if the processor supports it")
        network = build_network(train, job.seed)
        if train.flow is not None and "motion" not in inspect.signature(network.forward).parameters:
            raise NetworkError(
                f"{job.id}: train.flow known needs a network that takes it, forward(clip, motion=None); {train.network!r} does not."
            )
        if init is not None:
            _load(network, init, str(train.init))
        self.network = network.to(self._device).to(memory_format=torch.channels_last).train()
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        self._pairs: tuple[list[Tensor], list[Tensor]] = (
            [*self.averaged.parameters()],
            [*self.network.parameters()],
        )
        self._optimizer = Adam(parameters, lr=train.lr, betas=BETAS)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=train.precision == "fp16")
        self._adversary = None
        if train.gan is not None:
            self._adversary = Adversary(train.gan, seed=seed_of(job.seed, "discriminator"), device=self._device)
        self.identity = identity_of(job, crops.images, weights_sha256(init) if init is not None else None)
        self.iteration = 0
        self._loss = torch.zeros((), device=self._device, dtype=torch.float64)  # summed since the last log line
        self._counted = 0
        self._resume()

    def run(self, progress: Callable[[Progress], None] | None = None, *, until: int | None = None) -> None:
        """Train to the end, or until `until` iterations are done; saves a checkpoint in either case."""
        train = self.job.train
        end = min(train.iterations, until or train.iterations)
        with _threads(train.threads if self._device.type == "cpu" else None):
            began, first = time.perf_counter(), self.iteration
            while self.iteration < end:
                self._step()
                scores: dict[str, float] = {}
                last = self.iteration == train.iterations
                every = self.job.validate_on.every if self.job.validate_on else 0
                if self._validate is not None and every and (last or self.iteration % every == 0):
                    scores = self._validate(self.averaged)
                if scores or last or self.iteration % LOG_EVERY == 0:
                    rate = (self.iteration - first) / (time.perf_counter() - began)
                    loss = self._log(scores)
                    if progress is not None:
                        left = (train.iterations - self.iteration) / rate
                        progress(Progress(self.job.id, self.iteration, train.iterations, loss, rate, left, scores))
                if last or self.iteration == end or self.iteration % train.checkpoint_every == 0:
                    self._save()

    def _step(self) -> None:
        train = self.job.train
        batch = self._crops.batch(self.iteration)
        source = self._to_device(torch.from_numpy(batch.input))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(train, self.iteration)
        dtype = _AUTOCAST.get(train.precision)
        with torch.autocast(self._device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            output = self.network(source, **self._known_flow(batch)).float()
            if train.loss == "cross_entropy":
                self._check_classes(output)
                loss = F.cross_entropy(output, torch.from_numpy(batch.content).to(self._device))
            else:
                target = self._to_device(torch.from_numpy(batch.target))
                if target.ndim == 5 and output.ndim == 4:  # of the centre frame only
                    target = target[:, target.shape[1] // 2]
                self._check_shape(output, target)
                loss = LOSSES[train.loss](output - target)
            total = loss
            if self._adversary is not None:
                total = loss + self._adversary.weight * self._adversary.generator_loss(output)
        self._optimizer.zero_grad(set_to_none=True)
        alone = self._adversary is not None and train.gan is not None and self.iteration < train.gan.alone
        if not alone:
            self._scaler.scale(total).backward()
            self._scaler.unscale_(self._optimizer)
            if train.clip is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), train.clip)
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if self._adversary is not None:
            factor = learning_rate(train, self.iteration) / train.lr
            # Its step is not scaled, so it never runs in fp16, where small gradients vanish.
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=train.precision == "bf16"):
                discriminator_loss = self._adversary.discriminator_loss(output.detach(), target)
            self._adversary.step(discriminator_loss, factor)
        self._average()
        self._loss += loss.detach()
        self._counted += 1
        self.iteration += 1

    def _to_device(self, tensor: Tensor) -> Tensor:
        layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
        return tensor.to(self._device, memory_format=layout, non_blocking=True)

    def _known_flow(self, batch: Batch) -> dict[str, Motion]:
        """The argument `motion` of a network that is trained on the known flow."""
        if self.job.train.flow is None:
            return {}
        assert batch.flow is not None
        forward, backward = (self._to_device(torch.from_numpy(flow)) for flow in batch.flow)
        return {"motion": Motion(forward, backward)}

    def _check_shape(self, output: Tensor, target: Tensor) -> None:
        if output.shape != target.shape:
            raise NetworkError(
                f"{self.job.id}: network {self.job.train.network!r} returns {tuple(output.shape)}, the targets are"
                f" {tuple(target.shape)}. Check corpus.scale against the network's own scale."
            )

    def _check_classes(self, output: Tensor) -> None:
        if output.ndim != 2 or output.shape[1] < self._crops.contents:
            raise NetworkError(
                f"{self.job.id}: cross_entropy on `content` needs one logit per image, (B, {self._crops.contents}) or"
                f" more; network {self.job.train.network!r} returns {tuple(output.shape)}. Check train.args."
            )

    def _average(self) -> None:
        # The decay starts low, so that the random initial weights are forgotten within a few hundred iterations.
        decay = min(self.job.train.ema, (1 + self.iteration) / (10 + self.iteration)) if self.job.train.ema else 0.0
        with torch.no_grad():
            torch._foreach_lerp_(self._pairs[0], self._pairs[1], 1.0 - decay)
            for kept, new in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
                kept.copy_(new)

    def _log(self, scores: Mapping[str, float]) -> float:
        loss = float(self._loss) / max(self._counted, 1)
        self._loss.zero_()
        self._counted = 0
        if not math.isfinite(loss):
            raise NetworkError(
                f"{self.job.id}: the loss is {loss} at iteration {self.iteration}. Lower train.lr, or use fp32; the"
                f" last checkpoint in {self._folder.where} is from before."
            )
        line: dict[str, Any] = {"iteration": self.iteration, "loss": round(loss, 6)}
        if self._adversary is not None:
            line |= self._adversary.state_line()
        line |= {name: round(score, 3) for name, score in scores.items()}
        self._lines.append(line)
        self._put_log()
        return loss

    def _put_log(self) -> None:
        # rewritten each time: objects in a bucket cannot be appended to, and a log has at most a few thousand short lines
        self._folder.put(LOG, "".join(json.dumps(line) + "\n" for line in self._lines).encode())

    def _save(self) -> None:
        state = {
            "identity": json.dumps(self.identity.content()),
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "adversary": self._adversary.state_dict() if self._adversary else None,
            "loss": self._loss,
            "counted": self._counted,
        }
        sink = io.BytesIO()
        torch.save(state, sink)
        self._folder.put(CHECKPOINT, sink.getvalue())

    def _changed(self, state: Mapping[str, Any]) -> list[str]:
        if "identity" not in state:
            return _old_changes(state, self.job, self._crops)
        return self.identity.differences(identity_from(json.loads(state["identity"])))

    def _resume(self) -> None:
        data = self._folder.get(CHECKPOINT)
        if data is None:
            self._folder.delete(LOG)
            return
        try:
            state = torch.load(io.BytesIO(data), map_location=self._device, weights_only=True)
        except Exception as error:  # for a damaged file torch raises RuntimeError, UnpicklingError, EOFError, KeyError, …
            raise WeightsError(
                f"{self._folder.where}/{CHECKPOINT}: damaged ({type(error).__name__}). Delete the folder to train the network from the"
                " start."
            ) from error
        if changed := self._changed(state):
            raise RecipeError(
                f"{self._folder.where} holds another, unfinished training: {'; '.join(changed)}. Use another --out or id,"
                " or delete the folder."
            )
        self.iteration = int(state["iteration"])
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._adversary is not None:
            self._adversary.load_state_dict(state["adversary"])
        self._loss = state["loss"]
        self._counted = int(state["counted"])
        # Lines after the checkpoint will be written again.
        self._lines = [line for line in read_log(self._folder.get(LOG)) if line["iteration"] <= self.iteration]
        self._put_log()


def _old_changes(state: Mapping[str, Any], job: Job, crops: CropSource) -> list[str]:
    """What differs from a checkpoint written before `identity` existed: it holds only two hashes."""
    changes = []
    if state.get("recipe") != job.recipe_hash():
        changes.append(f"the recipe's hash was {str(state.get('recipe'))[:12]}, is now {job.recipe_hash()[:12]}")
    if state.get("pictures") != crops.images_sha256:
        changes.append("images: not those it was trained on")
    return changes


def read_log(data: bytes | Path | None) -> list[dict[str, Any]]:
    """The lines of a `log.jsonl`, given as bytes or a path, without a half-written last one; empty if there is none."""
    if isinstance(data, Path):
        data = data.read_bytes() if data.exists() else None
    lines: list[dict[str, Any]] = []
    for text in (data or b"").decode("utf-8", "replace").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _load(network: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    try:
        start = getattr(network, "start_from", dict)  # of a network for video the weights may be those of its flow network alone
        network.load_state_dict(start(tensors), strict=True)
    except RuntimeError as error:
        raise WeightsError(f"train.init {name!r} does not fit the network: {error}") from error


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Run with `count` torch threads, and restore the previous number."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
