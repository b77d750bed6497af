-- psql 15: what its backslash commands print for the same objects.
\set QUIET on
\set ON_ERROR_STOP off
\pset pager off
SET client_min_messages = warning;
CREATE TABLE item (id integer PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'none', price numeric(10,2), added timestamp, tags text[], note jsonb, code uuid);
CREATE TABLE "Odd Name" ("a B" bigint GENERATED ALWAYS AS IDENTITY, c smallint, d double precision, e interval, f bytea, g char(3), PRIMARY KEY ("a B", c));
CREATE TABLE plain (a integer, b date DEFAULT '2024-01-01', c integer GENERATED ALWAYS AS (a + 1) STORED);
CREATE SEQUENCE counter START 5 INCREMENT 2;
CREATE TABLE numbered (id serial, v text);
CREATE VIEW cheap AS SELECT id, name FROM item WHERE price < 10;
CREATE MATERIALIZED VIEW per_name AS SELECT name, count(*) AS n FROM item GROUP BY name;
COMMENT ON TABLE item IS 'things for sale';
COMMENT ON COLUMN item.price IS 'in euro';
COMMENT ON VIEW cheap IS 'below ten';
\echo d
\d
\echo dt
\dt
\dt item
\dt public.*
\dt nothing
\echo dt+ comments
\echo dv
\dv
\dv c*
\echo dm
\dm
\echo di
\di
\di item*
\echo ds
\ds
\ds co*
\echo dE
\dE
\dt ite*
\echo dtvm
\dtvms
\echo d item
\d item
\d "Odd Name"
\d plain
\d numbered
\d cheap
\d per_name
\d counter
\d item_pkey
\d nothing
\d i*
\echo d+
\d+ item
\d+ plain
\echo df
\df
\df nothing*
\echo dn
\dn public
\echo du
\du
\dg
\echo dp
\dp
\dp item
\z cheap
\echo dT
\dT
\echo dx db
\db
\echo sv
\sv nothing
\echo others
\dD
\dC nothing
\det
\dy
\dRp
\echo settings
\dconfig work_mem_nothing
\echo encoding
\encoding
\echo gdesc
SELECT id, name, price, added, tags, note, code, id + 1 AS next, count(*) OVER () AS n, name || 'x' AS text, now() AS at FROM item \gdesc
SELECT 1 AS a, 'x' AS b, NULL AS c, 1.5 AS d, true AS e, ARRAY[1,2] AS f, '1 day'::interval AS g \gdesc
\echo crosstab
INSERT INTO item (id, name, price) VALUES (1, 'a', 1.5), (2, 'b', 20), (3, 'a', 3);
SELECT name, id, price FROM item ORDER BY 1, 2 \crosstabview
\echo gexec gset
SELECT 'SELECT ' || id || ' AS made' FROM item ORDER BY id \gexec
SELECT 42 AS answer \gset
\echo :answer
\echo copy

\copy (SELECT id, name FROM item ORDER BY id) TO STDOUT WITH CSV HEADER
\x on
SELECT id, name FROM item ORDER BY id LIMIT 1;
\x off
\echo bind watch

\echo errors
SELECT nothing FROM item;
SELECT * FROM nothing;
SELECT 1 +;
SELEC 1;
INSERT INTO item (id) VALUES (1);
INSERT INTO item (id, name) VALUES (9, NULL);
SELECT 'x'::integer;
SELECT item.nothing FROM item;
SELECT nothing(1);
DROP TABLE item;
DROP VIEW item;
DROP TABLE nothing;
DROP TABLE IF EXISTS nothing;
CREATE TABLE item (a integer);
SELECT count(*), name FROM item;
BEGIN;
SELECT 1/0;
SELECT 1;
COMMIT;
\echo :SQLSTATE :LAST_ERROR_SQLSTATE
DROP MATERIALIZED VIEW per_name;
DROP VIEW cheap;
DROP TABLE item, "Odd Name", plain, numbered;
DROP SEQUENCE counter;
