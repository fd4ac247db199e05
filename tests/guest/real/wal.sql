-- A write-ahead log: it needs shared mappings of a file (FILE-shm) and locks.  sqlite3 -init /dev/null -batch FILE <wal.sql
.bail on
PRAGMA journal_mode = wal;
CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO t SELECT i, hex(i * 40503) FROM n;
BEGIN;
UPDATE t SET v = v || '!' WHERE k % 3 = 0;
COMMIT;
SELECT count(*), sum(length(v)) FROM t;
PRAGMA wal_checkpoint(truncate);
DELETE FROM t WHERE k > 1000;
PRAGMA mmap_size = 1048576;
SELECT count(*), max(v) FROM t;
PRAGMA integrity_check;
PRAGMA journal_mode = delete;
SELECT count(*) FROM t;
