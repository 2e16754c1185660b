"""Settings beside a statement: obeyed, capped, ignored or refused by name."""

import pytest

from services.warehouse.asked_settings import Refused, settle

LIMITS = {"max_execution_time": 30, "max_memory_usage": 1_000_000_000, "max_result_bytes": 256_000_000}
IN_FORCE = {
    **dict.fromkeys(
        (
            *("extremes", "max_result_rows", "max_execution_time", "max_memory_usage", "allow_ddl", "readonly"),
            *("max_threads", "join_use_nulls", "log_queries", "network_compression_method", "allow_experimental_x"),
            *("output_format_json_quote_64bit_integers", "output_format_schema", "format_template_row", "dialect"),
            *("allow_introspection_functions", "session_timezone", "enable_json_ast_dialect", "http_receive_timeout"),
            *("additional_table_filters", "max_result_bytes", "output_format_avro_confluent_subject"),
        ),
        "0",
    ),
    "result_overflow_mode": "throw",
    "dialect": "clickhouse",
}


def asked(**settings: str) -> tuple[dict[str, str], Refused | None]:
    return settle(settings, IN_FORCE, LIMITS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output_format_json_quote_64bit_integers", "1"),
        ("extremes", "1"),
        ("join_use_nulls", "1"),
        ("max_result_rows", "1000"),
        ("result_overflow_mode", "break"),
    ],
)
def test_what_changes_the_answers_look_is_obeyed(name: str, value: str) -> None:
    assert asked(**{name: value}) == ({name: value}, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extremes", "0"),
        ("max_threads", "64"),
        ("log_queries", "1"),
        ("network_compression_method", "LZ4"),
        ("allow_experimental_x", "1"),
        ("http_receive_timeout", "300"),
        ("readonly", "1"),
        ("readonly", "2"),
        ("session_timezone", "UTC"),
        ("dialect", "clickhouse"),
        ("allow_ddl", "0"),
    ],
)
def test_what_changes_nothing_is_accepted_and_costs_no_connection(name: str, value: str) -> None:
    assert asked(**{name: value}) == ({}, None)


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("max_execution_time", "5", "5"),
        ("max_execution_time", "0.5", "0.5"),
        ("max_execution_time", "300", "30"),
        ("max_execution_time", "0", "30"),
        ("max_memory_usage", "0", "1000000000"),
        ("max_memory_usage", "18446744073709551615", "1000000000"),
        ("max_result_bytes", "1000", "1000"),
    ],
)
def test_a_limit_may_be_asked_lower_and_never_higher(name: str, value: str, held: str) -> None:
    assert asked(**{name: value}) == ({name: held}, None)


@pytest.mark.parametrize(
    ("name", "value", "code", "why"),
    [
        ("readonly", "0", 164, "only reads"),
        ("allow_ddl", "1", 164, "allow_ddl cannot be changed"),
        ("allow_introspection_functions", "1", 164, "allow_introspection_functions cannot"),
        ("session_timezone", "Asia/Tokyo", 164, "every answer is in UTC"),
        ("dialect", "prql", 164, "dialect cannot be changed"),
        ("enable_json_ast_dialect", "1", 164, "enable_json_ast_dialect cannot"),
        ("output_format_schema", "/tmp/x", 164, "output_format_schema cannot"),
        ("output_format_avro_confluent_subject", "x", 164, "cannot be changed"),
        ("format_template_row", "/etc/passwd", 164, "format_template_row cannot"),
        ("additional_table_filters", "{}", 164, "read-only"),
        ("max_execution_time", "soon", 72, "max_execution_time=soon is no number"),
        ("max_execution_time", "-1", 72, "no number"),
        ("max_memory_usage", "nan", 72, "no number"),
        ("max_memory_usage", "0.5", 72, "max_memory_usage=0.5 is no whole number"),
        ("max_result_bytes", "1e3", 72, "max_result_bytes=1e3 is no whole number"),
        ("extrems", "1", 115, "there is no setting extrems"),
    ],
)
def test_what_would_weaken_the_guard_is_refused_by_name(name: str, value: str, code: int, why: str) -> None:
    obeyed, refused = asked(extremes="1", **{name: value})
    assert obeyed == {}
    assert refused is not None
    assert (refused.code, why in refused.sentence) == (code, True), refused
