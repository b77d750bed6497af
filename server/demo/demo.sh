#!/usr/bin/env bash
# A guided psql session: real flights and generated bids flow into views whose parallelism is
# altered meanwhile; at the end each view is compared with its query, run as a batch.
#
#   copy_flights (background) ── COPY ──►┐
#   NEXMark source in the server ───────►├─ views ◄── this session: SELECT, ALTER … SET PARALLELISM
#
# Takes about two minutes, cleans up after itself, and exits with 0 only if every view is right.
# SERVER_BINARY names the server to show; without it the one of this tree is built. QUICK=1 is the
# same session with fewer rows and no time to look, for the tests.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$here/data

if [ "${QUICK:-0}" = 1 ]; then
    readonly FLIGHTS=4000 ROWS_PER_CHUNK=400 SECONDS_BETWEEN_CHUNKS=0.05
    readonly EVENTS=20000 EVENT_GAP_NS=50000
    pause() { :; }
else
    # 81 thousand flights in chunks, a few a second: a bit over a minute.
    readonly FLIGHTS=1000000 ROWS_PER_CHUNK=400 SECONDS_BETWEEN_CHUNKS=0.35
    # Of 50 events 46 are bids; one event each 100 microseconds: 70 seconds.
    readonly EVENTS=700000 EVENT_GAP_NS=100000
    pause() { sleep "$1"; }
fi
readonly BIDS=$((EVENTS / 50 * 46))
readonly WAIT_SECONDS_MAX=120

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold='' green='' red='' plain=''; fi

# --- the server, and what must go when we go ---------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/tidewater-demo.XXXXXX")
server='' loader=''

clean_up() {
    local status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ] && [ -s "$work/server.log" ]; then
        printf '\n%sThe demo failed. The end of the server log:%s\n' "$red" "$plain"
        tail -n 30 "$work/server.log"
    fi
    for process in $loader $server; do kill "$process" 2>/dev/null || true; done
    for process in $loader $server; do wait "$process" 2>/dev/null || true; done
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

build_server() {
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tidewater/target}
    (cd "$here" && cargo build --workspace --bin tidewater)
    SERVER_BINARY=$CARGO_TARGET_DIR/debug/tidewater
}

start_server() {
    : >"$work/server.log"
    "$SERVER_BINARY" playground --listen 127.0.0.1:0 >>"$work/server.log" 2>&1 </dev/null &
    server=$!
    local tries
    port=''
    for ((tries = 0; tries < 300; tries++)); do
        port=$(awk 'match($0, /listening on [0-9.]+:[0-9]+/) {
            address = substr($0, RSTART, RLENGTH); sub(/.*:/, "", address); print address; exit }' "$work/server.log")
        [ -z "$port" ] || break
        kill -0 "$server" 2>/dev/null || { echo 'the server ended before it listened' >&2; exit 1; }
        sleep 0.1
    done
    [ -n "$port" ] || { echo 'the server did not listen within 30 s' >&2; exit 1; }
    psql=(psql -X -h 127.0.0.1 -p "$port" -d dev -U root -v ON_ERROR_STOP=1 -P pager=off -P null=-)
}

# --- showing -----------------------------------------------------------------------------------

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# Shows one statement, then its answer, NOTICEs included.
show() { printf '\n'; "${psql[@]}" -e -c "$1" 2>&1; }

create_view() {
    printf '\n'
    "${psql[@]}" -e -c 'SET streaming_parallelism = 1;' -c "CREATE MATERIALIZED VIEW $1 AS $2;" 2>&1
}

# The single value of a query.
value() { "${psql[@]}" -At -c "$1"; }

show_views() {
    show 'SELECT a.name AS airline, d.flights, d.mean_delay, d.max_delay
  FROM carrier_delays d JOIN airlines a ON d.carrier = a.carrier ORDER BY d.flights DESC LIMIT 5;'
    show 'SELECT * FROM destinations ORDER BY flights DESC, airport, airline LIMIT 4;'
    show 'SELECT * FROM very_late ORDER BY max_delay DESC LIMIT 4;'
    show 'SELECT count(*) AS auctions, sum(bids) AS bids, max(high) AS highest_price FROM auction_prices;'
}

# Of the notices "16 of 384 key groups moved", one for each quarter reached.
by_quarters() {
    awk '/^NOTICE: .* of [0-9]+ key groups moved/ {
            for (i = 2; i < NF; i++) if ($i == "of" && $(i + 2) == "key") quarter = int(4 * $(i - 1) / $(i + 1))
            if (quarter == shown) next
            shown = quarter
        }
        { print; fflush() }'
}

# Alters a view while rows flow and shows that they did.
alter() {
    local view=$1 parallelism=$2 flights bids
    flights=$(value 'SELECT count(*) FROM flights')
    bids=$(value 'SELECT count(*) FROM bids')
    show "ALTER MATERIALIZED VIEW $view SET PARALLELISM = $parallelism;" | by_quarters
    echo "(meanwhile $(($(value 'SELECT count(*) FROM flights') - flights)) flights" \
        "and $(($(value 'SELECT count(*) FROM bids') - bids)) bids came in)"
}

# --- loading -----------------------------------------------------------------------------------

# The first of the flights, without the names of their columns.
flights() { gzip -dc "$data/flights.csv.gz" | awk -v count="$FLIGHTS" 'NR > 1 && NR <= count + 1'; }

# Many COPY statements in one session, paced so that rows flow for about a minute.
copy_flights() {
    mkdir "$work/chunks"
    flights | awk -v dir="$work/chunks" -v size="$ROWS_PER_CHUNK" '
        { file = sprintf("%s/%05d", dir, (NR - 1) / size)
          if (file != last) { if (last) close(last); last = file }
          print > file }'
    for chunk in "$work"/chunks/*; do
        echo 'COPY flights FROM STDIN WITH (FORMAT csv);'
        cat "$chunk"
        echo '\.'
        sleep "$SECONDS_BETWEEN_CHUNKS"
    done | "${psql[@]}"
}

# --- checking ----------------------------------------------------------------------------------

failures=0

# check VIEW COLUMNS QUERY: as multisets of rows, the view and the query run as a batch must be
# the same. Rows of one side count +1, those of the other -1; what does not cancel out differs.
# (EXCEPT ALL would say less: DataFusion's does not count how often a row is there.)
check() {
    local view=$1 columns=$2 query=$3 rows differing verdict
    rows=$(value "SELECT count(*) FROM $view")
    differing=$(value "SELECT count(*) FROM (SELECT $columns FROM (
        SELECT $columns, 1 AS side FROM $view UNION ALL SELECT $columns, -1 AS side FROM ($query) AS batch
        ) AS both_sides GROUP BY $columns HAVING sum(side) <> 0) AS differing")
    if [ "$differing" = 0 ] && [ "$rows" -gt 0 ]; then
        verdict="${green}PASS${plain}"
    else
        verdict="${red}FAIL${plain}" failures=$((failures + 1))
    fi
    printf '  %-16s %8d rows %8d differing   %s\n' "$view" "$rows" "$differing" "$verdict"
}

expect() {
    local what=$1 expected=$2 found=$3 verdict="${green}PASS${plain}"
    [ "$found" = "$expected" ] || { verdict="${red}FAIL${plain}" failures=$((failures + 1)); }
    printf '  %-16s %8d rows %8d expected    %s\n' "$what" "$found" "$expected" "$verdict"
}

wait_for_bids() {
    local deadline=$((SECONDS + WAIT_SECONDS_MAX)) bids
    while bids=$(value 'SELECT count(*) FROM bids') && [ "$bids" -lt "$BIDS" ]; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "only $bids of $BIDS bids after $WAIT_SECONDS_MAX s" >&2; exit 1; }
        sleep 0.5
    done
}

# Each view's query stands once: it makes the view and is its check.
readonly carrier_delays='SELECT carrier, count(*) AS flights, round(avg(dep_delay)::numeric, 1) AS mean_delay, max(dep_delay) AS max_delay
  FROM flights GROUP BY carrier'
readonly destinations='SELECT p.name AS airport, a.name AS airline, count(*) AS flights, max(f.arr_delay) AS max_delay
  FROM flights f JOIN airlines a ON f.carrier = a.carrier JOIN airports p ON f.dest = p.faa
  GROUP BY p.name, a.name'
readonly very_late='SELECT airline, sum(flights) AS flights, max(max_delay) AS max_delay
  FROM destinations GROUP BY airline HAVING max(max_delay) > 300'
auction_prices() {
    echo "SELECT auction, count(*) AS bids, max(price) AS high, sum(price) AS total FROM $1 GROUP BY auction"
}

# --- the session -------------------------------------------------------------------------------

[ -n "${SERVER_BINARY:-}" ] || build_server
start_server
echo "A fresh playground listens; from another terminal: psql -h 127.0.0.1 -p $port -d dev -U root"

say '1. Tables: airlines, airports, and the flights that left New York in January to March 2013.'
show 'CREATE TABLE airlines (carrier VARCHAR PRIMARY KEY, name VARCHAR);'
show 'CREATE TABLE airports (faa VARCHAR PRIMARY KEY, name VARCHAR, lat DOUBLE PRECISION, lon DOUBLE PRECISION,
  alt INT, tz INT, dst VARCHAR, tzone VARCHAR);'
show 'CREATE TABLE flights (year INT, month INT, day INT, dep_time INT, sched_dep_time INT, dep_delay INT,
  arr_time INT, sched_arr_time INT, arr_delay INT, carrier VARCHAR, flight INT, tailnum VARCHAR,
  origin VARCHAR, dest VARCHAR, air_time INT, distance INT, hour INT, minute INT, time_hour TIMESTAMPTZ);'
for table in airlines airports; do
    show "COPY $table FROM STDIN WITH (FORMAT csv, HEADER);" <"$data/$table.csv"
done

say '2. Materialized views at parallelism 1: an aggregate, a join, a view over a view.'
create_view carrier_delays "$carrier_delays"
create_view destinations "$destinations"
create_view very_late "$very_late"

say '3. A NEXMark stream of bids, 10,000 events a second, an aggregate over it, and the bids themselves.'
show "CREATE SOURCE bid WITH (connector = 'nexmark', nexmark.table.type = 'Bid',
  nexmark.event.num = $EVENTS, nexmark.min.event.gap.in.ns = $EVENT_GAP_NS);"
create_view bids 'SELECT auction, bidder, price, channel FROM bid'
create_view auction_prices "$(auction_prices bid)"
show 'EXPLAIN CREATE MATERIALIZED VIEW d AS SELECT dest, count(*) FROM flights GROUP BY dest;'

say '4. Before the first flight: the views over flights are empty, bids are coming in.'
show_views

say '5. Flights start to flow, by COPY in the background.'
copy_flights >"$work/loader.log" 2>&1 &
loader=$!
pause 6
show_views

say '6. From 1 to 4 while rows flow: nothing stops, and no row goes astray.'
alter destinations 4
alter auction_prices 4
alter carrier_delays 4
pause 4
show_views
show 'SHOW JOBS;'

say '7. From 4 to 2.'
pause 8
alter auction_prices 2
alter destinations 2
alter carrier_delays 2
pause 4
show_views

say '8. The rest of the flights and bids.'
if ! wait "$loader"; then
    echo 'COPY failed:' >&2
    cat "$work/loader.log" >&2
    exit 1
fi
loader=''
wait_for_bids
show_views

say '9. Is each view what its query gives, run as a batch over all the rows?'
expect flights "$(flights | awk 'END { print NR }')" "$(value 'SELECT count(*) FROM flights')"
expect bids "$BIDS" "$(value 'SELECT count(*) FROM bids')"
check carrier_delays 'carrier, flights, mean_delay, max_delay' "$carrier_delays"
check destinations 'airport, airline, flights, max_delay' "$destinations"
check very_late 'airline, flights, max_delay' "$very_late"
check auction_prices 'auction, bids, high, total' "$(auction_prices bids)"

if [ "$failures" -gt 0 ]; then
    printf '\n%s%d checks failed.%s\n' "$red" "$failures" "$plain"
    exit 1
fi
printf '\n%sAll views are right, after three views were altered from 1 to 4 to 2 in %d s.%s\n' "$bold" "$SECONDS" "$plain"
