# Two processes and one database: sqlite3's record locks must keep them from each other. For tests/programs.rs.
set -e
cd /tmp

for mode in delete wal; do
    rm -f go x.db x.db-*
    sqlite3 x.db "pragma journal_mode = $mode; create table t(n); insert into t values(0);" > /dev/null

    # One holds the database; another is told so at once, or waits for it.
    mkfifo go
    (echo "begin exclusive; update t set n = n + 1;"; read line < go; echo "commit;") |
        sqlite3 -cmd ".timeout 20000" x.db &
    holder=$!
    while said=$(sqlite3 x.db "insert into t values(1);" 2>&1); do
        sleep 0.05
    done
    case "$said" in
    *"database is locked"*) ;;
    *) echo "unexpected: $said"; exit 1 ;;
    esac
    echo "$mode: the other is locked out"
    sqlite3 -cmd ".timeout 20000" x.db "update t set n = n + 10 where rowid = 1;" &
    waiter=$!
    sleep 0.1
    echo > go
    wait $holder
    wait $waiter
    rm go
    test "$(sqlite3 x.db 'select n from t where rowid = 1;')" = 11

    # Both count: no step of either is lost.
    for who in a b; do
        i=0
        while [ $i -lt 40 ]; do
            echo "begin immediate; update t set n = n + 1 where rowid = 1; commit;"
            i=$((i + 1))
        done > $who.sql
    done
    sqlite3 -cmd ".timeout 60000" x.db < a.sql &
    first=$!
    sqlite3 -cmd ".timeout 60000" x.db < b.sql
    wait $first
    test "$(sqlite3 x.db 'select n from t where rowid = 1; pragma integrity_check;')" = "91
ok"
    echo "$mode: both counted"
done
echo all locks are well
