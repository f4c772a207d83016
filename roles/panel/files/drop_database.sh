#!/bin/sh
# Remove the panel's database and its users from this host's PostgreSQL. Prints "changed: …" for each, then "other: …" for
# all that somebody else has there, or "empty".
set -eu
cd /
sql() {
    setpriv --reuid=postgres --regid=postgres --init-groups -- psql --no-psqlrc --quiet --tuples-only --no-align \
        --set=ON_ERROR_STOP=1 --dbname="$1" --command="$2"
}
command -v psql >/dev/null && command -v pg_lsclusters >/dev/null || { echo "empty"; exit 0; }
systemctl start postgresql.service
tries=0
until sql postgres 'SELECT 1' >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
        echo "PostgreSQL does not answer, so nothing of it was removed; see: journalctl -u 'postgresql@*'" >&2
        exit 1
    fi
    sleep 0.5
done
if [ -n "$(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'streamfleet'")" ]; then
    sql postgres 'DROP DATABASE streamfleet WITH (FORCE)'
    echo "changed: database"
fi
for role in streamfleet-worker streamfleet-panel; do
    if [ -n "$(sql postgres "SELECT 1 FROM pg_roles WHERE rolname = '$role'")" ]; then
        # It fails where a role has something in a database of others, whose owner has to say whose that is to be.
        sql postgres "DROP ROLE \"$role\""
        echo "changed: role $role"
    fi
done
others=$(
    sql postgres "SELECT 'other: database ' || datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
    sql postgres "SELECT 'other: user ' || rolname FROM pg_roles WHERE rolname <> 'postgres' AND rolname NOT LIKE 'pg\_%'"
    sql postgres "SELECT DISTINCT 'other: schema ' || n.nspname || ' of database postgres' FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_toast%'"
    pg_lsclusters --no-header | awk 'NR > 1 {print "other: cluster " $1 "/" $2}'
)
echo "${others:-empty}"
