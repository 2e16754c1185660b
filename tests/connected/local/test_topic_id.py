"""Topic ids, asked of a real broker."""

import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.common.kafka import topic_ids
from services.local.processes.kafka import KafkaNode
from tests.support.waiting import apoll

pytestmark = pytest.mark.connected


async def _admin(kafka: KafkaNode) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    return admin


async def test_each_topic_has_an_id_of_its_own(kafka: KafkaNode) -> None:
    admin = await _admin(kafka)
    names = [f"ids-{uuid.uuid4().hex}" for _ in range(2)]
    await admin.create_topics([NewTopic(name, 2, 1) for name in names])
    await admin.close()

    found = await topic_ids(kafka.bootstrap_servers, names)

    assert set(found) == set(names)
    assert len(set(found.values())) == 2
    assert all(uuid.UUID(hex=value).hex == value for value in found.values())
    assert await topic_ids(kafka.bootstrap_servers, names) == found


async def test_a_topic_made_again_has_another_id(kafka: KafkaNode) -> None:
    admin = await _admin(kafka)
    name = f"again-{uuid.uuid4().hex}"
    await admin.create_topics([NewTopic(name, 1, 1)])
    before = (await topic_ids(kafka.bootstrap_servers, [name]))[name]
    await admin.delete_topics([name])

    async def gone() -> bool:
        return name not in await admin.list_topics()

    await apoll(gone, what="the topic is gone")
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()

    assert (await topic_ids(kafka.bootstrap_servers, [name]))[name] != before


async def test_a_missing_topic_is_named(kafka: KafkaNode) -> None:
    with pytest.raises(LookupError, match=r"no topic never-made; `animusic topics`"):
        await topic_ids(kafka.bootstrap_servers, ["never-made"])


async def test_no_broker_names_the_address_and_the_setting() -> None:
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9.*ANIMUSIC_KAFKA__BOOTSTRAP_SERVERS"):
        await topic_ids("127.0.0.1:9", ["any"])
