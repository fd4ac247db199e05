cd /tmp
sqlite3 t.db 'create table t(a integer primary key, b text); create index i on t(b); pragma journal_mode=wal;'
sqlite3 t.db 'with recursive c(n) as (select 1 union all select n + 1 from c where n < 500) insert into t select n, printf("%04d", n * 7 % 500) from c;'
sqlite3 t.db 'select count(*), sum(a), max(b) from t; select a from t where b = "0123"; begin; delete from t where a > 10; rollback;'
sqlite3 t.db 'select count(*) from t; pragma integrity_check; select a, total(a) over (order by a rows 2 preceding) from t limit 3;'
sqlite3 t.db .dump | md5sum
ls t.db*
