"""A connection that leaves to the driver what is the same at each execution of a statement.

For each execution SQLAlchemy makes a cache key, a context, a cursor and a result, which costs several times what the
database does. Here a statement that is executed again is compiled once, and from then on its parameters go to the driver
and its rows come back. Everything else takes SQLAlchemy's way, with the same result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, ClauseElement, Connection, Dialect, Engine, Select
from sqlalchemy.engine import result_tuple
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

Convert = Callable[[Any], Any]
Parameters = Mapping[str, Any]


class Rows:
    """The rows of a result, with those methods of SQLAlchemy's `Result` that the store uses."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount
        """The number of rows that the statement returned, or else changed."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one_or_none(self) -> Any:
        if len(self._rows) > 1:
            raise MultipleResultsFound("At most one row was expected.")
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        row = self.one_or_none()
        if row is None:
            raise NoResultFound("One row was expected.")
        return row

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        row = self.one_or_none()
        return None if row is None else row[0]

    def scalars(self) -> Rows:
        return Rows([row[0] for row in self._rows], self.rowcount)

    def mappings(self) -> Rows:
        return Rows([row._mapping for row in self._rows], self.rowcount)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that is compiled for one driver and one shape of its parameters."""

    sql: str
    values: tuple[tuple[str | None, Convert | None, Any], ...]
    """For each distinct parameter its name and what converts its value; or None, None and a constant."""
    positions: tuple[int, ...] | None
    """The parameters in the order of the SQL, as indexes of `values`. None if that is their order."""
    lists: Mapping[str, Sequence[str]]
    """The names of the elements of each parameter that is a list."""
    row: Callable[[Sequence[Any]], Any] | None
    """Makes a row from values of the driver; None for a statement that returns no rows."""

    def arguments(self, parameters: Parameters) -> list[Any]:
        for name, elements in self.lists.items():
            parameters = {**parameters, **dict(zip(elements, parameters[name], strict=True))}
        values = [
            constant if name is None else parameters[name] if convert is None else convert(parameters[name])
            for name, convert, constant in self.values
        ]
        return values if self.positions is None else [values[each] for each in self.positions]


Shape = tuple[str | int, ...]
"""The names of a statement's parameters, and the length of each that is a list."""


_seen: defaultdict[type[Dialect], WeakKeyDictionary[ClauseElement, dict[Shape, Prepared | None]]] = (
    defaultdict(WeakKeyDictionary)
)
"""By the kind of database."""


class PreparedStatements:
    """The statements that this process has executed on one kind of database, with what is prepared of them.

    A statement is prepared when the same object is executed for the second time. Those that are built for one execution
    are never, and are forgotten when they are gone.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._seen = _seen[type(dialect)]

    def find(self, statement: ClauseElement, parameters: Parameters) -> Prepared | None:
        """Return what is prepared of a statement for parameters of this shape.

        None if it is executed for the first time, or needs more than the driver offers.
        """
        prepared = self._seen.get(statement)
        if prepared is None:
            self._seen[statement] = {}
            return None
        shape: Shape = tuple(parameters)
        for value in parameters.values():
            if isinstance(value, list | tuple):
                shape += (len(value),)
        try:
            return prepared[shape]
        except KeyError:
            found = prepared[shape] = prepare(statement, self._dialect, parameters)
            return found


def prepare(statement: ClauseElement, dialect: Dialect, parameters: Parameters) -> Prepared | None:
    """Compile a statement; None if SQLAlchemy has to take part in its execution."""
    if not isinstance(statement, Select | UpdateBase):
        return None
    compiled = statement.compile(dialect=dialect, column_keys=list(parameters))
    assert isinstance(compiled, SQLCompiler)
    if compiled.insert_prefetch or compiled.update_prefetch or compiled.literal_execute_params:
        return None
    state = compiled.construct_expanded_state(parameters)
    assert state.positiontup is not None
    distinct = list(dict.fromkeys(state.positiontup))
    positions = tuple(distinct.index(name) for name in state.positiontup)
    lists = {name: names for name, names in state.parameter_expansion.items() if name in parameters}
    given = {*parameters, *(name for names in lists.values() for name in names)}

    def value(name: str) -> tuple[str | None, Convert | None, Any]:
        own = compiled.binds.get(name)  # None for an element of a list
        convert = state.processors.get(name) if own is None else _converter(own, dialect)
        if name in given:
            return name, convert, None
        constant = state.parameters[name]
        return None, None, constant if convert is None else convert(constant)

    return Prepared(
        state.statement,
        tuple(value(name) for name in distinct),
        None if len(distinct) == len(positions) else positions,
        lists,
        _row(statement, dialect),
    )


def _converter(parameter: BindParameter[Any], dialect: Dialect) -> Convert | None:
    return parameter.type.dialect_impl(dialect).bind_processor(dialect)


def _row(statement: Select[Any] | UpdateBase, dialect: Dialect) -> Callable[[Sequence[Any]], Any] | None:
    columns = list(statement.exported_columns)
    if not columns:
        return None
    make = result_tuple([str(column.key) for column in columns])
    readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    if not any(readers):
        return make

    def row(values: Sequence[Any]) -> Any:
        # NULL is None for every type.
        return make(
            [
                value if read is None or value is None else read(value)
                for read, value in zip(readers, values, strict=True)
            ]
        )

    return row


class StoreConnection(Connection):
    """A connection on which units of work execute statements."""

    observe: Callable[[str], None] | None = None
    """Called with the SQL of each statement before it is executed, for tests and benchmarks."""

    def __init__(self, engine: Engine, statements: PreparedStatements) -> None:
        super().__init__(engine)
        self._statements = statements
        self.driver: Any = self.connection.driver_connection

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Execute a statement. Returns `Rows`, or SQLAlchemy's result, which has the same methods."""
        if isinstance(parameters, list) and len(parameters) < 2:
            parameters = parameters[0] if parameters else None
        many = isinstance(parameters, list)
        first = (parameters[0] if many else parameters) or {}
        prepared = None if execution_options else self._statements.find(statement, first)
        if self.observe is not None:
            self.observe(str(statement) if prepared is None else prepared.sql)
        if prepared is None or (many and prepared.row is not None):
            return super().execute(statement, parameters, execution_options=execution_options)
        if many:
            self.run_many(prepared.sql, [prepared.arguments(each) for each in parameters])
            return Rows((), -1)
        if prepared.row is None:
            return Rows((), self.run(prepared.sql, prepared.arguments(first)))
        rows = [prepared.row(each) for each in self.fetch(prepared.sql, prepared.arguments(first))]
        return Rows(rows, len(rows))

    @abstractmethod
    def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Let the driver execute a statement that returns rows."""

    @abstractmethod
    def run(self, sql: str, arguments: Sequence[Any]) -> int:
        """Let the driver execute a statement that returns none; return how many rows it changed."""

    @abstractmethod
    def run_many(self, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
        """Let the driver execute a statement that returns no rows once for each element."""
