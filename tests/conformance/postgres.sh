# Runs scripts of PostgreSQL's regression tests against a server of their own:
#
#     sh postgres.sh INSTALLED SUITE SCRIPT...
#
# INSTALLED is the folder of Debian's PostgreSQL. SUITE has `regress` (sql, expected, data), `regress.so`, `pg_regress` and
# `data`, an empty cluster, which is copied. The server and its tests run as the user postgres, as the server refuses root. What
# is printed is what pg_regress says, a line for each script, and of those that fail how their output differs.
set -eu
installed=$1 suite=$2
shift 2
export PATH="$installed/bin:$PATH"
as=
[ "$(id -u)" = 0 ] && as="setpriv --reuid postgres --regid postgres --clear-groups"
# A socket's path must be short.
socket=$(mktemp -d /tmp/pg.XXXXXX)
trap 'rm -rf "$socket"' EXIT
cp -r "$suite/data" data
mkdir out
printf 'test: %s\n' test_setup "$@" >schedule
[ -z "$as" ] || chown -R postgres:postgres data out "$socket" .
chmod 700 data

# As pg_regress itself starts one, but for the first three.
$as postgres -D "$PWD/data" -k "$socket" -c listen_addresses= -c fsync=off -c shared_buffers=32MB -c max_prepared_transactions=2 \
    >server.log 2>&1 &
server=$!
tries=0
until $as psql -h "$socket" -d postgres -Atqc 'select 1' >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 200 ] || ! kill -0 $server; then
        cat server.log
        exit 1
    fi
    sleep 0.3
done
status=0
$as "$suite/pg_regress" --host="$socket" --bindir="$installed/bin" --dlpath="$suite" --inputdir="$suite/regress" \
    --outputdir="$PWD/out" --no-locale --schedule=schedule || status=$?
[ $status = 0 ] || head -c 20000 out/regression.diffs
kill -INT $server
wait $server || true
# 1: some script failed, which its line says.
[ $status -le 1 ]
