CREATE TABLE operation (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    caller TEXT NOT NULL,
    caller_key TEXT NOT NULL,
    visitor INTEGER NOT NULL,
    request TEXT NOT NULL,
    site TEXT NOT NULL,
    group_id TEXT,
    group_name TEXT,
    dry_run INTEGER NOT NULL,
    undo_of TEXT,
    digest BLOB NOT NULL,
    key TEXT,
    key_digest BLOB,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    state TEXT NOT NULL,
    why TEXT,
    plan TEXT NOT NULL,
    no_access_granted INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    waited_ms INTEGER NOT NULL,
    done INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    in_doubt INTEGER NOT NULL,
    unsettled INTEGER NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX operation_by_group ON operation (group_id, number);
CREATE INDEX operation_by_kind ON operation (kind, number);
CREATE INDEX operation_by_key ON operation (caller_key, key, number) WHERE key IS NOT NULL;
CREATE INDEX operation_by_undone ON operation (undo_of, number) WHERE undo_of IS NOT NULL;
CREATE INDEX operation_running ON operation (number) WHERE state = 'running';
CREATE INDEX operation_by_end ON operation (finished_at) WHERE state <> 'running';
CREATE TABLE name (
    operation INTEGER NOT NULL,
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    account TEXT,
    group_id TEXT,
    verdict TEXT,
    PRIMARY KEY (operation, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot (
    operation INTEGER NOT NULL,
    place INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    group_name TEXT NOT NULL,
    externally_managed INTEGER NOT NULL,
    settings TEXT NOT NULL,
    PRIMARY KEY (operation, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_member (
    operation INTEGER NOT NULL,
    place INTEGER NOT NULL,
    row INTEGER NOT NULL,
    account TEXT NOT NULL,
    PRIMARY KEY (operation, place, row)
) STRICT, WITHOUT ROWID;
CREATE TABLE forgotten (operation INTEGER PRIMARY KEY) STRICT;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
