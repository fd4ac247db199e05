# A database that grows, is asked, shrinks, and is made compact; in a file system in memory.
#
#   busybox sh sqlite.sh ROWS TURNS
rows=$1 turns=$2
cd /tmp
sqlite3 -batch t.db "pragma journal_mode = wal; create table t (id integer primary key, name text, value integer);"
turn=1
while [ $turn -le $turns ]; do
    sqlite3 -batch t.db "
        begin;
        with recursive n (i) as (select 1 union all select i + 1 from n where i < $rows)
            insert into t (name, value) select printf('row %08d of turn $turn', i), i * 7919 % 10007 from n;
        commit;"
    sleep 3
    sqlite3 -batch t.db "
        create index if not exists by_value on t (value);
        select count(*), sum(value), max(name) from t where value between 1000 and 3000;
        select name from t order by value, name limit 2;"
    sleep 4
    sqlite3 -batch t.db "delete from t where id % 3 <> 0; pragma wal_checkpoint(truncate);"
    sleep 2
    turn=$((turn + 1))
done
sqlite3 -batch t.db "drop index by_value; vacuum; select count(*) from t;"
sleep 5
