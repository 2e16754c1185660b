"""Which settings that clients send with a statement are applied, ignored or refused. Pure.

Settings of the output format are applied, and limits below ours. Settings that only concern writing,
the network or speed are ignored. Others are refused by name, because they could change what a statement means or
reaches, unless they set the current value: a ClickHouse server with `readonly = 1` does the same.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

# Parameters of the HTTP interface, which are no settings: what is asked, by whom, and how the answer travels.
PARAMETERS: Final = frozenset(
    {
        *("query", "database", "default_format", "query_id", "user", "password", "quota_key", "role", "stacktrace"),
        *("session_id", "session_timeout", "session_check", "close_session", "compress", "decompress"),
        *("client_protocol_version", "wait_end_of_query", "buffer_size"),
    }
)
_OBEYED: Final = frozenset(
    {
        *("extremes", "limit", "offset", "max_result_rows", "result_overflow_mode", "timeout_overflow_mode"),
        *("max_rows_to_read", "max_bytes_to_read", "read_overflow_mode", "max_columns_to_read"),
        *("max_rows_to_group_by", "group_by_overflow_mode", "max_rows_to_sort", "sort_overflow_mode"),
        *("date_time_output_format", "date_time_input_format", "bool_true_representation", "bool_false_representation"),
        *("format_csv_delimiter", "format_csv_null_representation", "format_tsv_null_representation"),
        *("join_use_nulls", "group_by_use_nulls", "transform_null_in", "cast_keep_nullable", "totals_mode", "final"),
        *("aggregate_functions_null_for_empty", "prefer_column_name_to_alias", "enable_positional_arguments"),
        *(
            "union_default_mode",
            "intersect_default_mode",
            "except_default_mode",
            "low_cardinality_allow_in_native_format",
        ),
        *("asterisk_include_materialized_columns", "asterisk_include_alias_columns"),
    }
)
# The limits that may be a fraction.
_OF_SECONDS: Final = ("max_execution_time",)
_OBEYED_FAMILY: Final = "output_format_"
# It names a file that the server would write; an Avro schema may name a registry that it would ask.
_NOT_OBEYED: Final = ("output_format_schema", "output_format_avro_confluent")
_IGNORED: Final = re.compile(
    r"http_|network_|send_|receive_|connect|log_|opentelemetry_|add_http_cors_header$|enable_http_compression$|tcp_keep_alive|"
    r"idle_connection_timeout$|poll_interval$|input_format_|insert_|async_insert|wait_for_async_insert|max_insert_|"
    r"max_partitions_per_insert_block$|mutations_sync$|lightweight_deletes_sync$|alter_sync$|deduplicate_|"
    r"optimize_|use_|distributed_|load_balancing$|priority$|max_threads$|max_final_threads$|max_block_size$|"
    r"max_parallel_replicas$|prefer_localhost_replica$|preferred_|min_|merge_tree_|query_plan_|filesystem_|"
    r"compile_|skip_unavailable_shards$|throw_on_unsupported_query_inside_transaction$|implicit_transaction$|"
    r"wait_changes_become_visible_after_commit_mode$|cancel_http_readonly_queries_on_client_close$|"
    r"allow_experimental_|allow_suspicious_|enable_(?!.*dialect)"
)


class Refused(NamedTuple):
    """Why a request is refused: ClickHouse's code, and a sentence."""

    code: int
    sentence: str


def settle(
    asked: Mapping[str, str], in_force: Mapping[str, str], limits: Mapping[str, int]
) -> tuple[dict[str, str], Refused | None]:
    """The settings to obey, and the first refusal.

    `asked`: what came beside the statement, less PARAMETERS and `param_*`. `in_force`: every setting that the engine
    knows, with its value. `limits`: the most that may be asked for, by name.
    """
    obeyed: dict[str, str] = {}
    for name, value in asked.items():
        refusal = _refusal(name, value, in_force, limits)
        if refusal is not None:
            return {}, refusal
        if name in limits:
            obeyed[name] = _within(value, limits[name])
        elif _is_obeyed(name) and value != in_force[name]:
            obeyed[name] = value
    return obeyed, None


def _refusal(name: str, value: str, in_force: Mapping[str, str], limits: Mapping[str, int]) -> Refused | None:
    if name not in in_force:
        return Refused(115, f"there is no setting {name}; `SELECT name FROM system.settings` lists them")
    if name in limits:
        return _no_limit(name, value)
    if name == "readonly":
        return None if value in ("1", "2") else Refused(164, _cannot(name, "every statement here only reads"))
    if name == "session_timezone":
        return (
            None
            if value in ("", "UTC")
            else Refused(164, _cannot(name, "every answer is in UTC; toTimeZone() converts"))
        )
    if _is_obeyed(name) or _IGNORED.match(name) or value == in_force[name]:
        return None
    return Refused(164, _cannot(name, "this endpoint is read-only. Leave it out"))


def _no_limit(name: str, value: str) -> Refused | None:
    if _number(value) is None:
        return Refused(72, f"{name}={value} is no number")
    if name not in _OF_SECONDS and not (value.isascii() and value.isdecimal()):
        return Refused(72, f"{name}={value} is no whole number")
    return None


def _cannot(name: str, why: str) -> str:
    return f"the setting {name} cannot be changed: {why}"


def _is_obeyed(name: str) -> bool:
    return name in _OBEYED or (name.startswith(_OBEYED_FAMILY) and not name.startswith(_NOT_OBEYED))


def _within(value: str, most: int) -> str:
    """0 asks for no limit: the most is the limit then."""
    number = _number(value)
    return str(most) if number is None or not 0 < number < most else value


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
