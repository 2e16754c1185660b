"""Takes a static member out of its consumer group, as `kafka-consumer-groups --remove-members` does.

aiokafka knows the request up to version 1, which cannot name a static member.
"""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

_MEMBER = (("member_id", String("utf-8")), ("group_instance_id", String("utf-8")))


class _Left(Response):  # type: ignore[misc]
    API_KEY = 13
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("error_code", Int16), ("members", Array(*_MEMBER, ("error_code", Int16)))
    )


class _Leave(RequestStruct):  # type: ignore[misc]
    API_KEY = 13
    API_VERSION = 3
    RESPONSE_TYPE = _Left
    SCHEMA = Schema(("group", String("utf-8")), ("members", Array(*_MEMBER)))


class _LeaveRequest(Request[_Leave]):  # type: ignore[misc]
    API_KEY = 13

    def __init__(self, group: str, instance: str) -> None:
        self._told = (group, [("", instance)])

    def build(self, request_struct_class: type[_Leave]) -> _Leave:
        return request_struct_class(*self._told)


async def take_out(admin: AIOKafkaAdminClient, group: str, instance: str) -> None:
    """Let the member of this name leave now; otherwise it would only when its session ends."""
    coordinator = await admin.find_coordinator(group)
    answer = await admin._send_request(_LeaveRequest(group, instance), coordinator)
    codes = [code for _, _, code in answer.members]
    assert (answer.error_code, codes) == (0, [0]), answer
