"""What is trained when: the stages, their task mixtures and the learning-rate schedule."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """`steps` optimizer steps on one mixture; a task's share moves linearly from its first to its second number."""

    steps: int
    mixture: dict[str, tuple[float, float]]
    dropout: float
    smoothing: float
    names: float

    def shares(self, progress: float) -> dict[str, float]:
        """The shares at `progress` in [0, 1], summing to one."""
        raw = {task: first + (last - first) * progress for task, (first, last) in self.mixture.items()}
        total = sum(raw.values())
        return {task: share / total for task, share in raw.items()}


@dataclass(frozen=True)
class Curriculum:
    """The stages in order and a schedule of warm-up, constant rate and linear decay to zero."""

    stages: tuple[Stage, ...]
    warmup_steps: int
    decay_steps: int

    @staticmethod
    def load(path: Path) -> Curriculum:
        """Reads a curriculum file (see curriculum-8.json)."""
        content = json.loads(path.read_text(encoding="utf-8"))
        stages = tuple(Stage(**stage) for stage in content["stages"])
        return Curriculum(stages, content["warmup_steps"], content["decay_steps"])

    @property
    def steps(self) -> int:
        """All steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, float]:
        """The stage a step belongs to and how far it has come."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step / stage.steps
            step -= stage.steps
        return self.stages[-1], 1.0

    def rate_at(self, step: int) -> float:
        """The factor on the learning rates."""
        return max(0.0, min(1.0, (step + 1) / self.warmup_steps, (self.steps - step) / self.decay_steps))
