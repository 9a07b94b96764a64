# PostgreSQL as its own user: a cluster is made, the server started, asked, stopped and started again.
export PATH="$1:/bin:/usr/bin" TZ=UTC LC_ALL=C
fail() { echo "FAILED: $*"; cat /tmp/log 2>/dev/null; exit 1; }
mkdir -p /tmp/data /var/run/postgresql && chown postgres:postgres /tmp/data /var/run/postgresql
as() { /usr/bin/setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
initdb -D /tmp/other > /tmp/log 2>&1 && fail "initdb as root"
as initdb -D /tmp/data -A trust --no-sync > /tmp/log 2>&1 || fail initdb
as pg_ctl -D /tmp/data -o '-c listen_addresses= -c fsync=off' -w -t 100 -l /tmp/data/log start > /tmp/log 2>&1 || { cat /tmp/data/log; fail start; }
ask() { as psql -h /var/run/postgresql -d postgres -Atqc "$1"; }
[ "$(ask 'select 6 * 7')" = 42 ] || fail query
ask "create table t as select g as n, md5(g::text) as text from generate_series(1, 1000) g; create index on t (text)" || fail table
[ "$(ask "select n from t where text = md5('77')")" = 77 ] || fail index
as pg_ctl -D /tmp/data -m fast -w stop > /tmp/log 2>&1 || fail stop
as pg_ctl -D /tmp/data -o '-c listen_addresses= -c fsync=off' -w -t 100 -l /tmp/data/log start > /tmp/log 2>&1 || fail again
[ "$(ask 'select count(*) from t')" = 1000 ] || fail kept
as pg_ctl -D /tmp/data -m fast -w stop > /tmp/log 2>&1 || fail stop
echo all of postgres is well
