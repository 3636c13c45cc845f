"""${message}

A migration runs while the previous release is still serving. So it must not

* break what that release reads or writes: expand in one release, contract in a later one;
* hold a lock for long: no rewriting of a large table in one statement, indexes of large tables concurrently;
* import `bot`: it has to do in a year what it does today.

There is no way back: restore the backup.

`expands = True`: it only adds to the schema, so the previous release can also be started on it. Remove the line if
that release would fail, for example because of a new rule.

Add its line to `migrations/versions.sha256`, and run `python -m tests.expected_schema` (see docs/architecture.md).
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
expands = True


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
