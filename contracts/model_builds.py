"""Records of `animusic.model-builds.v1`, keyed by arm: the cost and outcome of each build, and every switch of an arm.

`animusic.models.v1` is compacted to the live versions. This topic keeps the history, so that an arm can be rolled back.
A killed build has no record.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.events import ArmName, ModelVersion

Outcome = Literal["built", "failed", "switched", "rolled back"]
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Stage(BaseModel):
    """The time of one stage of a build. CPU time counts all threads of the process and its finished children."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    seconds: Seconds
    cpu_seconds: Seconds


class Machine(BaseModel):
    """The machine of a build. `device` computed the vectors: `cpu` or a GPU's name."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    cores: Annotated[int, Field(ge=1)]
    architecture: str
    device: str = "cpu"


class ModelBuild(BaseModel):
    """One build, or one switch to the result of an earlier build.

    Attributes:
        version: None if the build failed before its version was known.
        outcome: `built` and published; `failed` and discarded; `switched` or `rolled back` without a build.
        went_live: whether this record switched the arm to `version`.
        replaced: the version that was live before, for a rollback; None if there was none.
        why: the error message of a failure.
        started_at: milliseconds since the epoch.
        seconds, cpu_seconds: of the whole build; `stages`: by stage (catalogue, vectors, checks, index, publish).
        peak_memory_bytes: the largest resident size of the process during the build; 0 if unknown.
        songs: points of the collection. `encoded`: vectors computed in this build; `reused`: vectors of an earlier one.
        left_out: songs without a vector in this model.
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
