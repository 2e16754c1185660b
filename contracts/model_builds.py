"""Records of `animusic.model-builds.v1`, keyed by arm: what each build cost and came to, and every switch of an arm.

`animusic.models.v1` is compacted to what is live; this topic keeps what was, so that an arm can go back. A build that
was killed has no record.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.events import ArmName, ModelVersion

Outcome = Literal["built", "failed", "switched", "rolled back"]
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Stage(BaseModel):
    """What one stage of a build took. CPU is of all threads of the process and of the children that it waited for."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    seconds: Seconds
    cpu_seconds: Seconds


class Machine(BaseModel):
    """Where a build ran. `device`: what computed the vectors, `cpu` or a GPU's name."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    cores: Annotated[int, Field(ge=1)]
    architecture: str
    device: str = "cpu"


class ModelBuild(BaseModel):
    """One build, or one switch to what an earlier build had made.

    Attributes:
        version: None when a build failed before it knew its version.
        outcome: `built` and published; `failed`, thrown away; `switched` or `rolled back` without a build.
        went_live: whether the arm was switched to `version` by this.
        replaced: the version that was live before, for going back; None when none was.
        why: of a failure, the sentence that was said.
        started_at: milliseconds since the epoch.
        seconds, cpu_seconds: of the whole; `stages` says it by stage (catalogue, vectors, checks, index, publish).
        peak_memory_bytes: the largest resident size of the process during the build; 0 where it is not known.
        songs: points of the collection; `encoded` of them were computed now, `reused` had been before.
        left_out: songs that the model has nothing to say about.
        recall: recall@10 of the index against an exact search.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    arm: ArmName
    version: ModelVersion | None = None
    outcome: Outcome
    went_live: bool
    replaced: ModelVersion | None = None
    why: str | None = None
    started_at: Count
    seconds: Seconds = 0.0
    cpu_seconds: Seconds = 0.0
    peak_memory_bytes: Count = 0
    songs: Count = 0
    encoded: Count = 0
    reused: Count = 0
    left_out: Count = 0
    recall: Annotated[float, Field(ge=0, le=1)] | None = None
    stages: dict[str, Stage] = {}
    params: dict[str, Any] = {}
    machine: Machine | None = None

    def log_value(self) -> bytes:
        """The record value: compact JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()
