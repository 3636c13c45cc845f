"""On SQLite the time of an audit row is a time that can be read.

The previous rule compared the text of a new row's time with the clock. As text, `09:44:99.000000` lies between two
times, and so does a time with a NUL and more after it. Neither can be read, so nobody could tell when such a row was
written. PostgreSQL stores times as times.
"""

from alembic import op

revision = "0014"
down_revision = "0013"

MINUTES = 10
DIGIT = "[0-9]"
TIME = f"{DIGIT * 4}-{DIGIT * 2}-{DIGIT * 2} {DIGIT * 2}:{DIGIT * 2}:{DIGIT * 2}.{DIGIT * 6}"
BYTES = len("2026-01-31 09:30:00.000000")
"""GLOB stops at a NUL, a length in bytes does not."""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        return

    def clock(minutes: int) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{minutes:+d} minutes')"

    # Without the fraction, which strftime rounds. It gives NULL for second 99, and another text for 30 February.
    to_the_second = "substr(NEW.at, 1, 19)"
    op.execute("DROP TRIGGER audit_log_is_dated")
    op.execute(
        "CREATE TRIGGER audit_log_is_dated BEFORE INSERT ON audit_log "
        f"WHEN NEW.at NOT GLOB '{TIME}' OR length(CAST(NEW.at AS BLOB)) <> {BYTES} "
        f"OR {to_the_second} IS NOT strftime('%Y-%m-%d %H:%M:%S', {to_the_second}) "
        f"OR NEW.at NOT BETWEEN {clock(-MINUTES)} AND {clock(MINUTES)} "
        "BEGIN SELECT RAISE(ABORT, 'audit_log takes only rows of the moment'); END"
    )
