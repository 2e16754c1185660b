"""Every setting of AniMusic: typed, nested, with its unit in its name or description.

Set them by environment: `ANIMUSIC_PORT=9000`, `ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS=broker:9092` (two underscores step
into a group). A running local system leaves its addresses in `<data_dir>/run/endpoints.json`; they stand behind the
environment, so `animusic sql` and the other commands find the parts that `make run` started. `animusic settings` prints
them all.
"""

import contextlib
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ENDPOINTS_FILE = Path("run") / "endpoints.json"
_DEFAULT_DATA_DIR = Path(".animusic")
REPO_ROOT = Path(__file__).resolve().parents[2]


class KafkaSettings(BaseModel):
    """The log."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, several with commas")
    partitions: int = Field(8, ge=1, le=64, description="partitions of a user-keyed topic when it is created")
    replication: int = Field(1, ge=1, description="copies of each partition when a topic is created")
    min_insync: int = Field(1, ge=1, description="copies that must have a record before it is acknowledged")
    request_timeout_ms: int = Field(10_000, description="how long a write may take before the answer is 503")
    session_seconds: float = Field(
        10.0, ge=6, le=1800, description="how long a consumer may be silent before others get its partitions"
    )
    dead_letter_share: float = Field(
        0.2, ge=0, le=1, description="largest share of its recent records that a consumer cannot read before it stops"
    )
    dead_letter_window: int = Field(1_000, ge=1, description="how many recent records that is a share of")
    dead_letter_least: int = Field(100, ge=1, description="a consumer never stops for fewer dead letters than this")
    instance: str | None = Field(
        None, description="this process' name in its consumer group; unset: the host's, so two on one host need it"
    )


class RedisSettings(BaseModel):
    """The store of profiles: Redis or Valkey."""

    url: str = Field("redis://127.0.0.1:6379/0", description="redis://, rediss:// or unix://path")
    timeout_seconds: float = Field(5.0, gt=0)


class ClickhouseSettings(BaseModel):
    """What analysts ask."""

    dsn: str = Field(
        "http://127.0.0.1:8123/animusic",
        description="where readers ask; on one machine the warehouse's own read-only endpoint",
    )
    external: bool = Field(
        False, description="true: the warehouse writes to a ClickHouse server at `dsn`; false: to its own chDB engine"
    )


class QdrantSettings(BaseModel):
    """The vectors."""

    url: str | None = Field(None, description="a Qdrant server; none: Qdrant Edge on the files in <data_dir>/vectors")
    grpc_port: int = Field(6334, ge=1, le=65_535, description="the port of the server at `url` that is searched")
    api_key: SecretStr | None = None
    search_seconds: float = Field(0.25, gt=0, description="longest wait for a search; then it is computed here")


class GatewaySettings(BaseModel):
    """HTTP in, log out."""

    session_days: float = Field(30.0, gt=0, description="how long a guest's session lasts")
    slot_token_hours: float = Field(48.0, gt=0, description="how long a served slot may cause events")
    recommender_urls: list[str] = Field(
        ["http://127.0.0.1:8081"], description="a user's shard picks one of them; behind a balancer: one address"
    )
    recommender_timeout_seconds: float = Field(5.0, gt=0)
    allowed_hosts: list[str] = Field(
        [], description="Host headers that are answered, beside loopback names; `*` answers all (behind a proxy)"
    )
    allowed_origins: list[str] = Field([], description="web origins that may call, beside the page's own")
    paper_endpoints: bool | None = Field(
        None, description="the paper's three endpoints; unset: only while bound to loopback"
    )
    paper_extensions: list[str] | None = Field(
        None,
        description="ids of the browser extensions that may call the paper's endpoints, `*` for all; "
        "unset: all while bound to loopback, else none",
    )
    posts_per_second: float = Field(200.0, gt=0, description="sustained posts of one user before 429")
    posts_burst: int = Field(400, ge=1, description="posts of one user that may come at once")
    sessions_per_minute: float = Field(600.0, gt=0, description="new sessions from one address before 429")
    account_seconds: float = Field(
        10.0, gt=0, le=10, description="between two accounts to the ledger; it misses an account after 20"
    )


class ProfilesSettings(BaseModel):
    """Log to Redis."""

    group: str = "animusic.profiles"
    batch_records: int = Field(5_000, ge=1, description="most records of one flush")
    generation: str | None = Field(None, description="write this generation; unset: the live one")
    metrics_port: int = Field(0, ge=0, le=65_535, description="0: any free port")
    processes: int = Field(1, ge=1, le=16, description="profiles processes of the local system; they share partitions")


class WarehouseSettings(BaseModel):
    """Log to ClickHouse."""

    group: str = "animusic.warehouse"
    batch_records: int = Field(20_000, ge=1, description="most rows of one insert")
    flush_ms: int = Field(2_000, ge=1, description="oldest a waiting row may get before it is inserted")
    host: str = "127.0.0.1"
    port: int = Field(8123, ge=0, le=65_535, description="the read-only SQL endpoint")
    query_seconds: int = Field(30, ge=1, description="longest an analyst's query may take")
    query_memory_mb: int = Field(1_000, ge=50)
    engine_memory_mb: int = Field(1_500, ge=200, description="limit of the whole chDB engine")
    nice: int = Field(10, ge=0, le=19, description="nice value of the process: listeners wait for the others")


class RecommenderSettings(BaseModel):
    """Profile and vectors in, playlist out."""

    host: str = "127.0.0.1"
    port: int = Field(8081, ge=0, le=65_535)
    processes: int = Field(1, ge=1, le=16, description="recommender processes of the local system")
    order: Literal["random", "fixed"] = Field("random", description="slot order; fixed is the paper's")
    cold_start: Literal["fade", "paper"] = Field("fade", description="how favourites replace the anime list")
    cold_songs: int = Field(20, ge=1, description="songs of the anime list that stand in for likes")
    wait_ms: int = Field(500, ge=0, description="longest wait for a receipt's mark")
    rest_after_shown: int = Field(3, ge=1, description="times shown and never started before a song rests")
    rest_playlists: int = Field(10, ge=0, description="playlists that it then rests")
    cache_mb: int = Field(512, ge=0, description="memory for what is kept of listeners between requests")


NEURAL_MODELS = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "mpnet": "sentence-transformers/all-mpnet-base-v2",
}


NodeKind = Literal["anime", "artist", "composer", "arranger", "lyricist", "tag", "genre"]
Node2VecPreset = Literal["default", "paper"]


class Node2VecSettings(BaseModel):
    """How node2vec is built. What is unset is the preset's; options of the command go before these."""

    preset: Node2VecPreset = Field(
        "default", description="default; paper: 16 dimensions, 5 epochs, nodes anime, composer, tag"
    )
    dimension: int | None = Field(None, ge=2, description="length of a vector; default: 64")
    walk_length: int | None = Field(None, ge=2, description="nodes of a walk; default: 10")
    walks: int | None = Field(None, ge=1, description="walks from each node; default: 20")
    window: int | None = Field(None, ge=1, description="nodes to each side that a node is trained with; default: 5")
    p: float | None = Field(None, ge=0.001, le=1000, description="above 1: walks return seldom; default: 1")
    q: float | None = Field(None, ge=0.001, le=1000, description="above 1: walks stay near their start; default: 1")
    epochs: int | None = Field(None, ge=1, description="passes over the walks; default: 3")
    workers: int | None = Field(None, ge=1, description="threads; only 1 is repeatable; default: 1")
    seed: int | None = Field(None, ge=0, description="another seed, another model; default: 1")
    nodes: list[NodeKind] | None = Field(None, min_length=1, description="kinds of nodes beside songs; default: all")
    edge_weights: dict[NodeKind, Annotated[float, Field(gt=0, le=1000)]] | None = Field(
        None, description="weight of the edges to nodes of a kind; default: 1"
    )


class ModelsSettings(BaseModel):
    """What model jobs build."""

    node2vec: Node2VecSettings = Node2VecSettings()
    neural: dict[str, str] = Field(
        NEURAL_MODELS,
        description="arm -> sentence-transformers model: its name, or the path of a local copy; an arm that is not "
        "named here keeps the paper's model",
    )

    watch: bool = Field(True, description="`animusic run` rebuilds models when the catalogue changes")
    watch_quiet_seconds: float = Field(5.0, ge=0.1, description="how long the catalogue must be quiet before that")
    watch_at_most_seconds: float = Field(60.0, gt=0, description="longest that a change waits for quiet")
    watch_host: str = "127.0.0.1"
    watch_port: int = Field(
        0, ge=0, le=65_535, description="health and metrics of the model rebuild worker; 0: any free one"
    )

    @field_validator("neural")
    @classmethod
    def _with_defaults(cls, named: dict[str, str]) -> dict[str, str]:
        return {**NEURAL_MODELS, **named}


class CatalogueSettings(BaseModel):
    """What an import of songs may do by itself."""

    encoding: str | None = Field(
        None, description="of CSV files, as Python names it; unset: UTF-8, or what a byte-order mark tells"
    )
    withdraw_share: float = Field(
        0.1, ge=0, le=1, description="largest share of the songs that --withdraw-missing withdraws without --yes"
    )


class ProbeSettings(BaseModel):
    """What counts the log for the ledger, and the synthetic listener who measures freshness."""

    enabled: bool = Field(True, description="`animusic run` starts the probe")
    every_seconds: float = Field(30.0, ge=1, description="between two rounds of the synthetic listener")
    count_every_seconds: float = Field(30.0, ge=1, description="between two counts of the topic")
    gateway_url: str | None = Field(None, description="where the listener asks; unset: the public port of this machine")
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535, description="health and metrics of the probe; 0: any free one")


class LocalSettings(BaseModel):
    """The supervisor and the parts that it starts on one machine."""

    catalogue: str = Field(
        "sample", description="sample, synthetic, or the path of a CSV: loaded when the log has none"
    )
    kafka_heap_mb: int = Field(256, ge=128)
    kafka_jars_dir: Path | None = Field(None, description="ready Kafka jars; unset: fetched once into the user's cache")
    stop_seconds: float = Field(15.0, gt=0, description="how long each part may take to stop before it is killed")


def asked_data_dir() -> Path:
    """The data directory that the environment names, before it is checked."""
    return _at_home(Path(os.environ.get("ANIMUSIC_DATA_DIR", _DEFAULT_DATA_DIR)))


def _at_home(path: Path) -> Path:
    """`~/x` where no shell has replaced it (systemd, Compose, a quoted value). `~x` is a name like any other."""
    return Path.home().joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


class _Endpoints(PydanticBaseSettingsSource):
    """The addresses that a running local system wrote down."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, True

    def __call__(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((asked_data_dir() / ENDPOINTS_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found


class Settings(BaseSettings):
    """The root. Built once in each service's composition root and handed down."""

    model_config = SettingsConfigDict(env_prefix="ANIMUSIC_", env_nested_delimiter="__", extra="forbid")

    data_dir: Path = Field(_DEFAULT_DATA_DIR, description="everything that this installation keeps")
    host: str = Field("127.0.0.1", description="address of the one public port")
    port: int = Field(8080, ge=0, le=65_535, description="the one public port")
    environment: Literal["development", "production"] = "development"
    secret: SecretStr | None = Field(None, description="signing key; unset: kept in <data_dir>/secret")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    installation: str = Field(
        "", description="named by each /readyz, so that others' answers are told apart; `animusic run` sets it"
    )

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    clickhouse: ClickhouseSettings = ClickhouseSettings()
    qdrant: QdrantSettings = QdrantSettings()
    gateway: GatewaySettings = GatewaySettings()
    profiles: ProfilesSettings = ProfilesSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    recommender: RecommenderSettings = RecommenderSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    models: ModelsSettings = ModelsSettings()
    probe: ProbeSettings = ProbeSettings()
    local: LocalSettings = LocalSettings()

    @field_validator("data_dir")
    @classmethod
    def _spelled(cls, asked: Path) -> Path:
        """Any directory name but those that Java, Valkey or ClickHouse cannot take."""
        path = _at_home(asked)
        check_data_dir_name(path.absolute())
        return path

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then what a running local system wrote down."""
        return init_settings, env_settings, _Endpoints(settings_cls)

    @property
    def vectors_dir(self) -> Path:
        """Published collections, one directory a version, read-only once there."""
        return self.data_dir / "vectors"

    @property
    def embeddings_dir(self) -> Path:
        """What sentence models have encoded: one file a model revision, kept from build to build."""
        return self.data_dir / "embeddings"

    def signing_key(self) -> bytes:
        """The key of all tokens, at least 32 bytes.

        Raises ValueError in production without `ANIMUSIC_SECRET`: several machines must share one key.
        """
        if self.secret is not None:
            return self.secret.get_secret_value().encode()
        if self.environment == "production":
            raise ValueError("set ANIMUSIC_SECRET to 32 or more random characters: `openssl rand -hex 32` makes them")
        return _kept_secret(self.data_dir / "secret")


def check_data_dir_name(path: Path) -> None:
    """Raise ValueError where Java, Valkey or ClickHouse cannot take the name of a data directory. It says why."""
    try:
        text = os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise ValueError(f"the name of {shown} is not UTF-8, and Java cannot open it; rename the directory") from None
    if "\n" in text or "\r" in text:
        raise ValueError(f"{text!r} has a line break in it, and Valkey's configuration cannot name it; choose another")
    if "?" in text:
        raise ValueError(
            f"{text} has a ? in it, and the ClickHouse engine takes what follows a ? for its settings; choose another"
        )


def _kept_secret(path: Path) -> bytes:
    """The secret in `path`, made on first use and readable by its owner only.

    Several processes may make it at once: each writes one of its own, and the first that can give it the name wins.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes().strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        _name_once(partial, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
    return path.read_bytes().strip()


def _name_once(partial: str, path: Path) -> None:
    """Give a file its name, unless another one has it. A file system without links takes the last one instead."""
    try:
        os.link(partial, path)
    except FileExistsError:
        return
    except OSError:
        os.replace(partial, path)
