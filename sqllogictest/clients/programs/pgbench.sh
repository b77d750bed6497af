#!/usr/bin/env bash
# pgbench: point look-ups and single-row changes, by each of its three protocols.
set -euo pipefail

psql -X -q -c 'create table account (id integer primary key, balance bigint not null)' \
    -c 'insert into account select g, 0 from generate_series(1, 1000) g'
look_up=$(mktemp) change=$(mktemp)
trap 'rm -f "$look_up" "$change"' EXIT
printf '%s\n' '\set id random(1, 1000)' 'SELECT balance FROM account WHERE id = :id;' >"$look_up"
printf '%s\n' '\set id random(1, 1000)' 'BEGIN;' 'UPDATE account SET balance = balance + 1 WHERE id = :id;' 'END;' >"$change"
for mode in simple extended prepared; do
    for script in "$look_up" "$change"; do
        pgbench -n -M "$mode" -c 2 -t 50 -f "$script" 2>&1 | grep -E 'query mode|actually processed|failed|error'
    done
done
# What another session has just written is visible with the next epoch.
psql -X -q -A -t -o /dev/null -c 'select pg_sleep(1)'
psql -X -q -A -t -c 'select count(*), sum(balance) from account' -c 'drop table account'
