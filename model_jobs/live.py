"""Which version of each arm is live: the last record of the arm in `animusic.models.v1`."""

from pydantic import ValidationError

from contracts.models import LiveModel
from contracts.records import MODEL_VERSIONS
from contracts.topics import MODELS
from services.common.kafka import producer, read_to_end
from services.common.settings import KafkaSettings


async def live_models(settings: KafkaSettings) -> dict[str, LiveModel]:
    """Arm → its live model. A record that cannot be read is passed over.

    Raises LookupError without the topic, NewerSchema.
    """
    live: dict[str, LiveModel] = {}
    async for batch in read_to_end(settings, MODELS.name):
        for record in batch:
            try:
                model = MODEL_VERSIONS.read(record.value or b"")
            except ValidationError:
                continue
            live[model.arm] = model
    return live


async def switch(settings: KafkaSettings, record: LiveModel) -> None:
    """Make a published model live. Returns once the broker has the record; raises aiokafka's KafkaError."""
    client = producer(settings)
    await client.start()
    try:
        await client.send_and_wait(MODELS.name, record.log_value(), key=record.arm.encode())
    finally:
        await client.stop()
