"""Which statements an analyst may run. Pure: it checks text that ClickHouse itself has put into canonical form.

There are two checks. The engine's own `readonly = 1` refuses writes, changed settings and most sources; this one
refuses what that lets through (the function `file`, DESCRIBE of a source, INTO OUTFILE, KILL, system tables that show
other users' queries) and says why. The checked text is the text that runs: it has one statement, no comments,
and every literal and name quoted in one way.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

Kind = Literal["word", "name", "text", "parameter", "other"]

_TOKEN: Final = re.compile(
    r"(?P<text>'(?:[^'\\]|\\.|'')*')"
    r"|(?P<name>`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<parameter>\{\s*\w+\s*:[^{}]*\})"
    r"|(?P<word>[A-Za-z_$][\w$]*)"
    r"|(?P<other>\d[\w.]*|[^\s'`\"])",
    re.DOTALL,
)
_SPACE: Final = re.compile(r"\s*")
_PARAMETER: Final = re.compile(r"\{\s*(\w+)\s*:\s*(.*?)\s*\}", re.DOTALL)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]\w*")

STATEMENTS: Final = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS"})
_SHOWS: Final = frozenset({"TABLES", "DATABASES", "COLUMNS", "CREATE", "SETTINGS", "FUNCTIONS", "FULL", "INDEXES"})
# Table functions that read nothing but their arguments. Any other one that the engine knows is refused.
TABLE_FUNCTIONS: Final = frozenset(
    {
        *("numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generateseries", "generate_series"),
        *("values", "null", "view", "format", "sqlstandardvalues"),
    }
)
# Functions that read files, call other machines, or tell of this one.
FUNCTIONS: Final = frozenset(
    {
        *("file", "catboostevaluate", "showcertificate", "getclienthttpheader", "currentrequesturl", "getmacro"),
        *("getserversetting", "hostname", "fullhostname", "fqdn", "reversednsquery", "logtrace", "addresstoline"),
        *("addresstolinewithinlines", "addresstosymbol", "aiclassify", "aiembed", "aiextract", "aifilter"),
        *("aigenerate", "airedact", "aisimilarity", "aitranslate", "structuretocapnprotoschema", "tcpport"),
    }
)
SYSTEM_TABLES: Final = frozenset(
    {
        *("one", "numbers", "zeros", "tables", "columns", "databases", "settings", "functions", "formats", "parts"),
        *("data_type_families", "table_functions", "table_engines", "time_zones", "build_options", "contributors"),
        # Drivers ask these when a tool lists what there is.
        *("parts_columns", "projection_parts", "projection_parts_columns", "dictionaries"),
        *("aggregate_function_combinators", "collations", "keywords", "data_skipping_indices", "projections"),
    }
)
_SYSTEM: Final = frozenset({"system", "information_schema"})
_INFORMATION: Final = frozenset({"tables", "columns", "schemata", "views", "statistics", "key_column_usage"})


class Token(NamedTuple):
    kind: Kind
    text: str

    def is_word(self, *words: str) -> bool:
        """Whether this is one of these keywords, unquoted."""
        return self.kind == "word" and self.text.upper() in words


def tokens(canonical: str) -> list[Token]:
    """The tokens of a canonical statement, names without their quotes. Raises ValueError at what is none."""
    return list(_tokens(canonical))


def _tokens(canonical: str) -> Iterator[Token]:
    at = _SPACE.match(canonical).end()  # type: ignore[union-attr]  # it matches the empty string
    while at < len(canonical):
        found = _TOKEN.match(canonical, at)
        if found is None or found.lastgroup is None:
            raise ValueError(f"cannot be read from {canonical[at : at + 20]!r} on")
        kind: Kind = found.lastgroup  # type: ignore[assignment]  # the groups are named after the kinds
        yield Token(kind, found.group()[1:-1] if kind == "name" else found.group())
        at = _SPACE.match(canonical, found.end()).end()  # type: ignore[union-attr]


def refusal(canonical: str, parameters: Mapping[str, str], table_functions: frozenset[str]) -> str | None:
    """Why a statement may not be run here, in one sentence, or None.

    `parameters` are the values of `{name:Type}`; `table_functions` all that the engine knows, in lower case.
    """
    try:
        found = tokens(canonical)
    except ValueError as error:
        return f"the statement {error}"
    end = Token("other", "")
    padded = [*found, end, end]
    triples = list(zip(padded, padded[1:], padded[2:], strict=False))
    reasons = [_statement(found), *(_clause(*triple) for triple in triples)]
    reasons += [_function(token, after, table_functions) for token, after, _ in triples]
    reasons += [_source(*triple) for triple in triples]
    reasons += [_identifier(token, parameters) for token in found]
    return next((reason for reason in reasons if reason), None)


def output_format(canonical: str) -> str | None:
    """The format that the statement's own FORMAT clause names, or None."""
    last = tokens(canonical)[-2:]
    return last[1].text if len(last) == 2 and last[0].is_word("FORMAT") and last[1].kind == "word" else None


def _statement(found: Sequence[Token]) -> str | None:
    first = found[0] if found else Token("other", "")
    if not first.is_word(*STATEMENTS):
        return (
            f"only SELECT, SHOW, DESCRIBE, EXPLAIN and EXISTS are answered here, not {first.text.upper() or 'nothing'}"
        )
    if first.is_word("SHOW") and not (len(found) > 1 and found[1].is_word(*_SHOWS)):
        return "SHOW answers TABLES, DATABASES, COLUMNS, CREATE, SETTINGS, FUNCTIONS and INDEXES here"
    if first.is_word("EXPLAIN") and not any(token.is_word("SELECT") for token in found):
        return "EXPLAIN answers for a SELECT here"
    return None


def _clause(token: Token, after: Token, third: Token) -> str | None:
    if token.is_word("INTO") and after.is_word("OUTFILE"):
        return "INTO OUTFILE would write on the server; save the answer where you asked for it"
    if token.is_word("PARALLEL") and after.is_word("WITH"):
        return "ask one statement at a time"
    if token.is_word("SETTINGS") and third.text == "=":
        return "a query cannot change settings here; its limits are those of ANIMUSIC_WAREHOUSE__QUERY_*"
    return None


def _function(token: Token, after: Token, table_functions: frozenset[str]) -> str | None:
    """Functions can also be named without a call (`arrayMap(file, …)`, `APPLY file`), so the bare name is refused."""
    if token.kind not in ("word", "name"):
        return None
    name = token.text.lower()
    if name in FUNCTIONS:
        return f"{token.text} is refused here: it reaches outside the database. As a column, give it another name"
    if after.text == "(" and name in table_functions and name not in TABLE_FUNCTIONS:
        return f"the table function {token.text} is refused here: it reaches outside the database"
    return None


def _source(token: Token, dot: Token, table: Token) -> str | None:
    if token.kind not in ("word", "name") or token.text.lower() not in _SYSTEM or dot.text != ".":
        return None
    allowed = SYSTEM_TABLES if token.text.lower() == "system" else _INFORMATION
    if table.kind in ("word", "name") and table.text.lower() in allowed:
        return None
    return f"{token.text}.{table.text} is refused here; these can be read: {', '.join(sorted(allowed))}"


def _identifier(token: Token, parameters: Mapping[str, str]) -> str | None:
    found = _PARAMETER.fullmatch(token.text) if token.kind == "parameter" else None
    if found is None or found.group(2).lower() != "identifier":
        return None
    value = parameters.get(found.group(1), "")
    names = value.split(".")
    plain = all(_PLAIN_NAME.fullmatch(name) for name in names)
    if not plain or any(name.lower() in _SYSTEM | FUNCTIONS for name in names):
        return f"the parameter {found.group(1)} may name tables and columns of ours only"
    return None
