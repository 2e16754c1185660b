"""Records of `animusic.models.v1`, keyed by arm: which version of a model's collection is live."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.events import ArmName, ModelVersion


class LiveModel(BaseModel):
    """One switch of an arm to a collection.

    Attributes:
        version: digest of catalogue content and parameters, 16 hex digits; it names the collection `<arm>-<version>`.
        vectors: dense (float32, cosine) or sparse.
        dimension: of a dense vector; the vocabulary's size for a sparse one.
        songs: number of points.
        catalogue_digest: of the catalogue that it was built from, 32 hex digits.
        params: the parameters of the build, for people.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    arm: ArmName
    version: ModelVersion
    vectors: Literal["dense", "sparse"]
    dimension: Annotated[int, Field(ge=1)]
    songs: Annotated[int, Field(ge=0)]
    catalogue_digest: str
    built_at: int
    params: dict[str, Any] = {}

    @property
    def collection(self) -> str:
        """The collection's name, on a Qdrant server and as a directory on one machine."""
        return f"{self.arm}-{self.version}"

    def log_value(self) -> bytes:
        """The record value: compact JSON."""
        return self.model_dump_json(by_alias=True).encode()
