"""Backup of a real log and restore into another real Kafka: what follows from the log is the same."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from contracts.fold import user_digest
from contracts.topics import CATALOGUE, FEEDBACK
from services.common.clickhouse import ChdbConnection
from services.common.kafka import ensure_topics
from services.common.settings import KafkaSettings
from services.local.processes.kafka import KafkaNode
from services.local.processes.valkey import ValkeyNode
from services.operator.backup.manifest import read_manifest
from services.operator.backup.restoring import restore
from services.operator.backup.taking import backup
from services.operator.readers.log import describe
from tests.connected.operator_backup.house import NAMES, Silent, emptied, fill, in_warehouse, records, without_offsets
from tests.connected.warehouse import engine as chdb
from tests.support.following import at_end, following, producing, profiles_in, put, settings_for
from tests.support.stores import kafka_node
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected


@pytest.fixture(scope="module")
def second_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """Another Kafka, whose cleaner is quick."""
    quick = {"log.cleaner.backoff.ms": "200", "log.initial.task.delay.ms": "100"}
    with kafka_node(Path(tmp_path_factory.mktemp("second")), quick) as node:
        yield node


@pytest_asyncio.fixture
async def second(second_kafka: KafkaNode) -> KafkaSettings:
    """A log without any topic."""
    settings = KafkaSettings(bootstrap_servers=second_kafka.bootstrap_servers)
    await emptied(settings)
    return settings


@pytest_asyncio.fixture
async def filled(log: KafkaSettings) -> AsyncIterator[KafkaSettings]:
    """A log with something of everything."""
    await fill(log)
    yield log


@dataclass
class Views:
    """Profiles as they follow from a log."""

    redis: Redis
    url: str
    data_dir: Path

    async def profiles(self, log: KafkaSettings) -> dict[str, str]:
        """User -> digest, from an empty store."""
        await self.redis.flushall()
        async with following(settings_for(log, self.url, self.data_dir), self.redis):
            await at_end(log, self.redis)
        return {user: user_digest(user, fields) for user, fields in (await profiles_in(self.redis)).items()}


@pytest.fixture
def views(redis: Redis, valkey: ValkeyNode, tmp_path: Path) -> Views:
    """The session's Valkey."""
    return Views(redis, valkey.url, tmp_path)


async def test_all_that_follows_is_the_same(
    filled: KafkaSettings, second: KafkaSettings, views: Views, clickhouse: ChdbConnection, tmp_path: Path
) -> None:
    taken = await backup(filled, tmp_path / "b", NAMES, Silent())
    before = await records(filled)
    assert taken.copied == taken.manifest.records == sum(map(len, before.values()))
    profiles, warehouse = await views.profiles(filled), await in_warehouse(filled, clickhouse)
    # The consumers have dead letters of the poison by now: they belong to the next backup.
    restored = await restore(second, tmp_path / "b", Silent())
    assert sorted(restored.created) == sorted(NAMES)
    assert restored.moved == {}
    assert await records(second) == before
    chdb.empty(clickhouse)
    assert await views.profiles(second) == profiles
    assert await in_warehouse(second, clickhouse) == warehouse
    assert len(profiles) > 50
    assert warehouse["registers"][0] > 50
    old, new = await describe(filled, NAMES), await describe(second, NAMES)
    assert {name: topic.config for name, topic in new.items()} == {name: topic.config for name, topic in old.items()}
    assert all(new[name].topic_id != old[name].topic_id for name in NAMES)


async def test_a_second_backup_appends_only_what_is_new(filled: KafkaSettings, tmp_path: Path) -> None:
    first = await backup(filled, tmp_path, NAMES, Silent())
    files = {file.path: file for file in first.manifest.files()}
    assert (await backup(filled, tmp_path, NAMES, Silent())).copied == 0
    async with producing(filled) as to:
        for number in range(3):
            await put(to, FEEDBACK.name, "late", str(number).encode())
    again = await backup(filled, tmp_path, NAMES, Silent())
    new = [file for file in again.manifest.files() if file.path not in files]
    assert (again.copied, [file.records for file in new]) == (3, [3])
    assert all(file == files.get(file.path, file) for file in again.manifest.files())
    assert again.manifest.records == first.copied + 3


async def test_what_arrives_meanwhile_belongs_to_the_next_backup(filled: KafkaSettings, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    sent: list[asyncio.Task[object]] = []
    before = sum(map(len, (await records(filled)).values()))
    async with producing(filled) as to:

        def another() -> None:
            sent.append(loop.create_task(put(to, FEEDBACK.name, f"u{len(sent)}", b"{}")))

        taken = await backup(filled, tmp_path, NAMES, Silent(during=another))
        await asyncio.gather(*sent)
    assert (taken.copied, len(sent) > 3) == (before, True)
    assert (await backup(filled, tmp_path, NAMES, Silent())).copied == len(sent)


async def test_an_interrupted_backup_goes_on(filled: KafkaSettings, second: KafkaSettings, tmp_path: Path) -> None:
    for stop_at in (1, 200, 500):
        with pytest.raises(InterruptedError):
            await backup(filled, tmp_path, NAMES, Silent(stop_at), file_bytes=5_000)
    held = read_manifest(tmp_path)
    assert held is not None
    assert held.records > 0
    taken = await backup(filled, tmp_path, NAMES, Silent(), file_bytes=5_000)
    before = await records(filled)
    assert 0 < taken.copied < taken.manifest.records == sum(map(len, before.values()))
    assert len({file.path for file in taken.manifest.files()}) > 2 * len(before)
    assert not list(tmp_path.rglob("*.partial"))
    await restore(second, tmp_path, Silent())
    assert await records(second) == before


async def test_a_damaged_file_is_named_and_nothing_written(
    filled: KafkaSettings, second: KafkaSettings, tmp_path: Path
) -> None:
    taken = await backup(filled, tmp_path, NAMES, Silent())
    victim, gone = taken.manifest.files()[3], taken.manifest.files()[5]
    content = bytearray((tmp_path / victim.path).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / victim.path).write_bytes(content)
    (tmp_path / gone.path).unlink()
    with pytest.raises(ValueError, match="nothing was written") as told:
        await restore(second, tmp_path, Silent())
    assert victim.path in str(told.value)
    assert gone.path in str(told.value)
    assert await describe(second, NAMES) == {}


async def test_an_interrupted_restore_goes_on(filled: KafkaSettings, second: KafkaSettings, tmp_path: Path) -> None:
    await backup(filled, tmp_path, NAMES, Silent(), file_bytes=30_000)
    for stop_at in (1, 300):
        with pytest.raises(InterruptedError):
            await restore(second, tmp_path, Silent(stop_at), resume=stop_at > 1)
    with pytest.raises(ValueError, match="--resume"):
        await restore(second, tmp_path, Silent())
    restored = await restore(second, tmp_path, Silent(), resume=True)
    assert 0 < restored.written < restored.manifest.records
    assert await records(second) == await records(filled)
    assert (await restore(second, tmp_path, Silent(), resume=True)).written == 0


async def test_only_this_restore_can_be_gone_on_with(
    filled: KafkaSettings, second: KafkaSettings, tmp_path: Path
) -> None:
    await backup(filled, tmp_path, NAMES, Silent())
    await ensure_topics(second)
    async with producing(second) as to:
        await put(to, FEEDBACK.name, "somebody", b"else")
    with pytest.raises(ValueError, match="not empty"):
        await restore(second, tmp_path, Silent())
    with pytest.raises(ValueError, match="differs from this backup"):
        await restore(second, tmp_path, Silent(), resume=True)


async def test_a_topic_made_again_is_not_mixed_with_the_one_before(
    filled: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long a topic that nobody knows is waited for.
    monkeypatch.setattr("services.operator.backup.taking._NEW_TOPIC_SECONDS", 0.3)
    await backup(filled, tmp_path, NAMES, Silent())
    await emptied(filled)
    await ensure_topics(filled)
    with pytest.raises(ValueError, match="created again"):
        await backup(filled, tmp_path, NAMES, Silent())
    with pytest.raises(LookupError, match=r"no\.such"):
        await backup(filled, tmp_path / "other", ["no.such"], Silent())


async def test_compacted_topics_come_back_in_their_order(
    log: KafkaSettings, second: KafkaSettings, tmp_path: Path
) -> None:
    """The source is the log with the quick cleaner; holes do not come back, and nobody finds another last value."""
    eager = {"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.01"}
    admin = AIOKafkaAdminClient(bootstrap_servers=second.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(CATALOGUE.name, 1, 1, topic_configs=eager)])
    await admin.close()
    async with producing(second) as to:
        for turn in range(15):
            sent = [
                await to.send(CATALOGUE.name, b"%d %d" % (turn, key), key=b"%d" % (key % 7), partition=0)
                for key in range(40)
            ]
            await asyncio.gather(*sent)
            # Only closed segments are compacted, and one is closed by an append after its time.
            await asyncio.sleep(0.06)

    async def cleaned() -> bool:
        return len((await records(second, [CATALOGUE.name]))[CATALOGUE.name, 0]) < 300

    await apoll(cleaned, timeout=30, interval=0.2, what="the topic is compacted")
    taken = await backup(second, tmp_path, [CATALOGUE.name], Silent())
    before = await records(second, [CATALOGUE.name])
    await emptied(log)
    restored = await restore(log, tmp_path, Silent())
    after = await records(log, [CATALOGUE.name])
    assert restored.moved == {f"{CATALOGUE.name}/0": 600 - taken.copied}
    wanted = without_offsets(before)[CATALOGUE.name, 0]
    assert without_offsets(after)[CATALOGUE.name, 0][-7:] == wanted[-7:]
    assert {r[2]: r[3] for r in after[CATALOGUE.name, 0]} == {r[2]: r[3] for r in before[CATALOGUE.name, 0]}
    await ensure_topics(log)
